//! `gen/rust/src/image.binpb`: the descriptor set with every option, for reflection and transcoding.
use crate::compile::Compiled;
use crate::tree::Tree;

/// Adds the image.
pub fn emit(compiled: &Compiled, tree: &mut Tree) {
    tree.add("gen/rust/src/image.binpb", compiled.image.clone());
}
