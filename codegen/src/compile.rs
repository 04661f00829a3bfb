//! Proto files to descriptor bytes, without protoc.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

/// Descriptors of a set of proto files with all their imports.
pub struct Compiled {
    /// Raw `FileDescriptorSet` with comments; keeps extension options.
    pub described: Vec<u8>,
    /// Raw `FileDescriptorSet` without comments, for reflection and transcoding.
    pub image: Vec<u8>,
    /// Decoded set for prost; extension options are lost in it.
    pub descriptors: prost_types::FileDescriptorSet,
    /// The files asked for, relative to their include path, sorted; imports are not among them.
    pub files: Vec<String>,
}

/// Compiles every proto file under `root/proto` against `root/target/third_party`.
///
/// # Errors
/// Third-party protos are missing, or a file does not compile (with line and column).
pub fn compile_tree(root: &Path) -> anyhow::Result<Compiled> {
    let third_party = root.join("target/third_party");
    ensure!(
        third_party.join("google/api/annotations.proto").is_file(),
        "target/third_party holds no google/api protos: run scripts/protos"
    );
    let proto = root.join("proto");
    let files = proto_files(&proto)?;
    compile(&files, || {
        let mut chain = ChainFileResolver::new();
        chain.add(IncludeFileResolver::new(proto.clone()));
        chain.add(IncludeFileResolver::new(third_party.clone()));
        chain.add(GoogleFileResolver::new());
        chain
    })
}

/// Compiles files given as name and source; `google/protobuf/*` is known.
///
/// # Errors
/// A file does not compile.
pub fn compile_sources(sources: &BTreeMap<String, String>, files: &[String]) -> anyhow::Result<Compiled> {
    compile(files, || {
        let mut chain = ChainFileResolver::new();
        chain.add(Sources(sources.clone()));
        chain.add(GoogleFileResolver::new());
        chain
    })
}

/// Names of all proto files under a directory, relative to it, sorted.
///
/// # Errors
/// The directory cannot be read.
pub fn proto_files(proto: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![proto.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                let name = path.strip_prefix(proto)?.to_str().context("a proto file name is not UTF-8")?;
                found.push(name.replace('\\', "/"));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn compile<R: FileResolver + 'static>(files: &[String], resolver: impl Fn() -> R) -> anyhow::Result<Compiled> {
    let open = |comments: bool| -> anyhow::Result<Compiler> {
        let mut compiler = Compiler::with_file_resolver(resolver());
        compiler.include_imports(true).include_source_info(comments);
        for file in files {
            // protox's Debug shows file, line and column; its Display only the message.
            compiler.open_file(file).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        }
        Ok(compiler)
    };
    let described = open(true)?;
    Ok(Compiled {
        described: described.encode_file_descriptor_set(),
        image: open(false)?.encode_file_descriptor_set(),
        descriptors: described.file_descriptor_set(),
        files: files.to_vec(),
    })
}

struct Sources(BTreeMap<String, String>);

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(source) => File::from_source(name, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}
