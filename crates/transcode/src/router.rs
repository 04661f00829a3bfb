//! Which route a path and a method mean.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use prost_reflect::DescriptorPool;

use crate::percent::{self, BadEncoding, Mode};
use crate::route::{Route, routes};
use crate::template::{Segment, TemplateError};

/// Why an image gives no router.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The image cannot be read.
    #[error("descriptor image: {0}")]
    Image(#[from] prost_reflect::DescriptorError),
    /// The image was made without google/api/annotations.proto.
    #[error("the image does not know google.api.http")]
    NoHttpOption,
    /// A path template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// An HTTP rule does not fit its method.
    #[error("{method}: {why}")]
    BadRule {
        /// Full name of the method.
        method: String,
        /// What does not fit.
        why: String,
    },
    /// Two methods claim the same path.
    #[error("{verb} {template} belongs to two methods")]
    Conflict {
        /// HTTP method.
        verb: Method,
        /// Path template.
        template: String,
    },
}

/// Value of a path variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Position among the template's variables.
    pub variable: usize,
    /// Decoded text.
    pub value: String,
}

/// What a path and a method mean.
#[derive(Debug)]
pub enum Resolution {
    /// A call of this route.
    Route(Arc<Route>, Vec<Capture>),
    /// The path exists, with other methods.
    MethodNotAllowed(Vec<Method>),
    /// There is no such path.
    NotFound,
    /// The path has broken percent-encoding or is not UTF-8.
    Malformed,
}

/// All routes of the contract, as a trie over path segments.
#[derive(Debug)]
pub struct Router {
    nodes: Vec<Node>,
    routes: Vec<Arc<Route>>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, usize>,
    any: Option<usize>,
    leaf: Leaf,
    tail: Leaf,
}

/// Routes that end here, by verb ("" = none).
type Leaf = HashMap<String, Vec<usize>>;

impl Router {
    /// Builds the routes of a descriptor image.
    ///
    /// # Errors
    /// An image that cannot be read, a wrong HTTP rule, or two rules for one path.
    pub fn from_image(image: &[u8]) -> Result<Self, BuildError> {
        let pool = DescriptorPool::decode(image)?;
        let mut router = Self { nodes: vec![Node::default()], routes: Vec::new() };
        for route in routes(&pool)? {
            router.insert(route)?;
        }
        Ok(router)
    }

    /// All routes, in the order of the contract.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    fn insert(&mut self, route: Route) -> Result<(), BuildError> {
        let mut at = 0;
        let mut is_tail = false;
        for segment in &route.parsed.segments {
            at = match segment {
                Segment::Literal(text) => match self.nodes[at].literals.get(text) {
                    Some(next) => *next,
                    None => {
                        let next = self.grow();
                        self.nodes[at].literals.insert(text.clone(), next);
                        next
                    }
                },
                Segment::One => match self.nodes[at].any {
                    Some(next) => next,
                    None => {
                        let next = self.grow();
                        self.nodes[at].any = Some(next);
                        next
                    }
                },
                Segment::Tail => {
                    is_tail = true;
                    at
                }
            };
        }
        let node = &mut self.nodes[at];
        let leaf = if is_tail { &mut node.tail } else { &mut node.leaf };
        let ends = leaf.entry(route.parsed.verb.clone().unwrap_or_default()).or_default();
        if ends.iter().any(|other| self.routes[*other].verb == route.verb) {
            return Err(BuildError::Conflict { verb: route.verb, template: route.template });
        }
        ends.push(self.routes.len());
        self.routes.push(Arc::new(route));
        Ok(())
    }

    fn grow(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    /// Finds the route of a raw (still encoded) path; HEAD is answered by every GET.
    #[must_use]
    pub fn resolve(&self, method: &Method, path: &str) -> Resolution {
        let Some(found) = self.matches(path) else { return Resolution::Malformed };
        if found.is_empty() {
            return Resolution::NotFound;
        }
        let wanted = |verb: &Method| {
            let by_verb = |index: &&usize| self.routes[**index].verb == *verb;
            found.iter().find(by_verb).copied()
        };
        let fallback = if method == Method::HEAD { wanted(&Method::GET) } else { None };
        match wanted(method).or(fallback) {
            Some(index) => {
                let route = &self.routes[index];
                match captures(route, path) {
                    Ok(captures) => Resolution::Route(Arc::clone(route), captures),
                    Err(BadEncoding) => Resolution::Malformed,
                }
            }
            None => Resolution::MethodNotAllowed(self.verbs(&found)),
        }
    }

    /// HTTP methods a path answers, HEAD and OPTIONS included; empty when there is no such path.
    #[must_use]
    pub fn allowed(&self, path: &str) -> Vec<Method> {
        self.matches(path).map(|found| self.verbs(&found)).unwrap_or_default()
    }

    fn verbs(&self, found: &[usize]) -> Vec<Method> {
        let mut verbs: Vec<Method> = Vec::new();
        let mut add = |verb: Method| {
            if !verbs.contains(&verb) {
                verbs.push(verb);
            }
        };
        for index in found {
            let verb = self.routes[*index].verb.clone();
            if verb == Method::GET {
                add(Method::HEAD);
            }
            add(verb);
        }
        if !found.is_empty() {
            add(Method::OPTIONS);
        }
        verbs.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        verbs
    }

    /// Routes a path belongs to, the most literal first; `None` when it is malformed.
    fn matches(&self, path: &str) -> Option<Vec<usize>> {
        let raw: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (head, verb) = cut_verb(&raw);
        let whole: Vec<String> = decode_all(&raw)?;
        let mut found = Vec::new();
        if let (Some(head), Some(verb)) = (head, verb) {
            let cut: Vec<String> = decode_all(&head)?;
            let verb = percent::decode(verb, Mode::Segment).ok()?;
            self.walk(0, &cut, Some(&verb), &mut found);
        }
        if found.is_empty() {
            self.walk(0, &whole, None, &mut found);
            if verb.is_some() {
                // Where verbs are declared, an unknown one is no route; elsewhere ":" is part of an id.
                found.retain(|index| !self.declares_verbs(*index));
            }
        }
        Some(found)
    }

    fn walk(&self, at: usize, rest: &[String], verb: Option<&str>, found: &mut Vec<usize>) {
        let node = &self.nodes[at];
        let verb_key = verb.unwrap_or_default();
        match rest.split_first() {
            None => found.extend(node.leaf.get(verb_key).into_iter().flatten()),
            Some((segment, rest)) if !segment.is_empty() => {
                if let Some(next) = node.literals.get(segment) {
                    self.walk(*next, rest, verb, found);
                }
                if let Some(next) = node.any {
                    self.walk(next, rest, verb, found);
                }
            }
            Some(_) => {}
        }
        found.extend(node.tail.get(verb_key).into_iter().flatten());
    }

    fn declares_verbs(&self, route: usize) -> bool {
        let siblings = |leaf: &Leaf| {
            let here = leaf.get("").is_some_and(|ends| ends.contains(&route));
            here && leaf.keys().any(|verb| !verb.is_empty())
        };
        self.nodes.iter().any(|node| siblings(&node.leaf) || siblings(&node.tail))
    }
}

/// Cuts `:verb` off the last segment.
fn cut_verb<'p>(raw: &[&'p str]) -> (Option<Vec<&'p str>>, Option<&'p str>) {
    let Some((last, head)) = raw.split_last() else { return (None, None) };
    match last.rsplit_once(':') {
        Some((segment, verb)) => {
            let mut cut = head.to_vec();
            cut.push(segment);
            (Some(cut), Some(verb))
        }
        None => (None, None),
    }
}

fn decode_all(raw: &[&str]) -> Option<Vec<String>> {
    raw.iter().map(|segment| percent::decode(segment, Mode::Segment).ok()).collect()
}

fn captures(route: &Route, path: &str) -> Result<Vec<Capture>, BadEncoding> {
    let mut raw: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    if route.parsed.verb.is_some()
        && let (Some(cut), Some(_)) = cut_verb(&raw)
    {
        raw = cut;
    }
    let segments = &route.parsed.segments;
    let mut captures = Vec::with_capacity(route.parsed.variables.len());
    for (variable, spec) in route.parsed.variables.iter().enumerate() {
        let is_tail = segments.get(spec.end - 1) == Some(&Segment::Tail);
        let end = if is_tail { raw.len() } else { spec.end };
        let text = raw.get(spec.start..end).unwrap_or_default().join("/");
        let mode = if spec.is_multi(segments) { Mode::Segments } else { Mode::Segment };
        captures.push(Capture { variable, value: percent::decode(&text, mode)? });
    }
    Ok(captures)
}
