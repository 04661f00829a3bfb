//! Path templates of google.api.http: `/v1/{name=shelves/*}/books/{id}:verb`.

/// A template that does not follow the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path template {template:?}: {why}")]
pub struct TemplateError {
    template: String,
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    /// `*`: exactly one segment.
    One,
    /// `**`: any number of segments, the last of the template.
    Tail,
}

/// A variable and the segments it spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Dotted field path.
    pub(crate) field: String,
    pub(crate) start: usize,
    /// One past its last segment of the template.
    pub(crate) end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) verb: Option<String>,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let fail = |why| TemplateError { template: text.to_owned(), why };
        let rest = text.strip_prefix('/').ok_or_else(|| fail("must begin with /"))?;
        let (path, verb) = split_verb(rest);
        let mut template = Self { segments: Vec::new(), variables: Vec::new(), verb: None };
        if let Some(verb) = verb {
            if verb.is_empty() {
                return Err(fail("empty verb"));
            }
            template.verb = Some(verb.to_owned());
        }
        for part in split_outside_braces(path).map_err(fail)? {
            template.part(part).map_err(fail)?;
        }
        let tails = template.segments.iter().filter(|s| **s == Segment::Tail).count();
        if tails > 1 || (tails == 1 && template.segments.last() != Some(&Segment::Tail)) {
            return Err(fail("** must be the last segment"));
        }
        Ok(template)
    }

    fn part(&mut self, part: &str) -> Result<(), &'static str> {
        let Some(inner) = part.strip_prefix('{') else {
            self.segments.push(segment(part)?);
            return Ok(());
        };
        let inner = inner.strip_suffix('}').ok_or("text after }")?;
        let (field, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
        let ident = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !field.split('.').all(ident) {
            return Err("variable is not a field path");
        }
        if self.variables.iter().any(|v| v.field == field) {
            return Err("variable given twice");
        }
        let start = self.segments.len();
        for piece in pattern.split('/') {
            self.segments.push(segment(piece)?);
        }
        self.variables.push(Variable { field: field.to_owned(), start, end: self.segments.len() });
        Ok(())
    }
}

impl Variable {
    /// Whether more than one path segment may be bound, so that `%2F` must stay encoded.
    pub(crate) fn is_multi(&self, segments: &[Segment]) -> bool {
        self.end - self.start > 1 || segments.get(self.start) == Some(&Segment::Tail)
    }
}

fn split_verb(rest: &str) -> (&str, Option<&str>) {
    match (rest.rfind(':'), rest.rfind('}')) {
        (Some(colon), Some(brace)) if colon < brace => (rest, None),
        (Some(colon), _) if !rest[colon..].contains('/') => (&rest[..colon], Some(&rest[colon + 1..])),
        _ => (rest, None),
    }
}

fn split_outside_braces(path: &str) -> Result<Vec<&str>, &'static str> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, false);
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'{' if open => return Err("nested {"),
            b'{' => open = true,
            b'}' if !open => return Err("} without {"),
            b'}' => open = false,
            b'/' if !open => {
                parts.push(&path[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err("{ without }");
    }
    parts.push(&path[start..]);
    Ok(parts)
}

fn segment(piece: &str) -> Result<Segment, &'static str> {
    match piece {
        "" => Err("empty segment"),
        "*" => Ok(Segment::One),
        "**" => Ok(Segment::Tail),
        text if text.contains(['*', '{', '}', '=', ':']) => Err("wildcard or reserved character inside a segment"),
        text => Ok(Segment::Literal(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_variables_and_wildcards_are_understood() {
        let template = Template::parse("/v1/{name=shelves/*}/books/{book.id}:read").unwrap();
        assert_eq!(template.verb.as_deref(), Some("read"));
        assert_eq!(template.segments.len(), 5);
        assert_eq!(template.variables[0], Variable { field: "name".into(), start: 1, end: 3 });
        assert_eq!(template.variables[1], Variable { field: "book.id".into(), start: 4, end: 5 });
        assert!(template.variables[0].is_multi(&template.segments));
        assert!(!template.variables[1].is_multi(&template.segments));
    }

    #[test]
    fn tails_may_only_end_a_template() {
        assert!(Template::parse("/v1/{path=files/**}").is_ok());
        assert!(Template::parse("/v1/{path=**}/x").is_err());
    }

    #[test]
    fn broken_templates_are_refused() {
        for text in ["v1", "/", "/v1//a", "/{a", "/a}", "/{a}b", "/{a}/{a}", "/{}", "/a:", "/a*"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
