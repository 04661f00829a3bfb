//! Leading comments by file and descriptor path.
use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FileDescriptor};

/// Comments of all files of a pool.
pub struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    /// Collects them.
    pub fn new(pool: &DescriptorPool) -> Self {
        let mut comments = HashMap::new();
        for file in pool.files() {
            let info = file.file_descriptor_proto().source_code_info.iter();
            for location in info.flat_map(|info| &info.location) {
                if let Some(comment) = &location.leading_comments {
                    comments.insert((file.name().to_owned(), location.path.clone()), tidy(comment));
                }
            }
        }
        Self(comments)
    }

    /// Comment of an element, lines joined by line feeds; empty when there is none.
    pub fn of(&self, file: &FileDescriptor, path: &[i32]) -> String {
        self.0.get(&(file.name().to_owned(), path.to_vec())).cloned().unwrap_or_default()
    }
}

fn tidy(comment: &str) -> String {
    let lines: Vec<&str> = comment.lines().map(str::trim).collect();
    lines.join("\n").trim().to_owned()
}
