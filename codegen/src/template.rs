//! Path templates of `google.api.http`: literals, `{field}`, `{field=pattern}` and a `:verb` at the end.

/// Field paths of a template's variables, in order.
///
/// # Errors
/// What is malformed about the template.
pub fn variables(path: &str) -> Result<Vec<&str>, String> {
    if !path.starts_with('/') {
        return Err(format!("path {path:?} must start with '/'"));
    }
    let mut found = Vec::new();
    let mut rest = path;
    while let Some(open) = rest.find(['{', '}']) {
        let body = rest[open..].strip_prefix('{').ok_or_else(|| format!("path {path:?} has a stray '}}'"))?;
        let close = body.find(['{', '}']).filter(|at| body[*at..].starts_with('}'));
        let close = close.ok_or_else(|| format!("path {path:?} has an unclosed '{{'"))?;
        let variable = &body[..close];
        found.push(variable.split_once('=').map_or(variable, |(field, _)| field));
        rest = &body[close + 1..];
    }
    Ok(found)
}

/// The template with its variables' names removed: two bindings with the same shape collide.
pub fn shape(path: &str) -> String {
    let mut shape = String::new();
    let mut inside = false;
    for character in path.chars() {
        match character {
            '{' => {
                inside = true;
                shape.push_str("{}");
            }
            '}' => inside = false,
            other if !inside => shape.push(other),
            _ => {}
        }
    }
    shape
}

/// The template with patterns removed from its variables: `{name=a/*}` becomes `{name}`.
pub fn without_patterns(path: &str) -> String {
    let mut plain = String::new();
    let mut skipping = false;
    for character in path.chars() {
        match character {
            '=' if plain.rfind('{') > plain.rfind('}') => skipping = true,
            '}' => {
                skipping = false;
                plain.push('}');
            }
            other if !skipping => plain.push(other),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_with_and_without_pattern_and_verb() {
        assert_eq!(variables("/v1/{name=a/*}/x/{b.c}:cancel"), Ok(vec!["name", "b.c"]));
        assert_eq!(variables("/v1/orders:quote"), Ok(vec![]));
    }

    #[test]
    fn malformed_templates_are_named() {
        assert!(variables("v1").unwrap_err().contains("start with '/'"));
        assert!(variables("/v1/{a").unwrap_err().contains("unclosed"));
        assert!(variables("/v1/{a{b}}").unwrap_err().contains("unclosed"));
        assert!(variables("/v1/a}").unwrap_err().contains("stray"));
    }

    #[test]
    fn shape_and_plain_form_drop_what_does_not_route() {
        assert_eq!(shape("/v1/{a}/x/{b=c/*}:go"), "/v1/{}/x/{}:go");
        assert_eq!(without_patterns("/v1/{a}/x/{b=c/*}:go"), "/v1/{a}/x/{b}:go");
    }
}
