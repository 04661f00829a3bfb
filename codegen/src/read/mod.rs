//! Descriptor pool to [`ContractIr`].
mod comments;
mod options;

use std::collections::BTreeSet;

use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind as PoolKind, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};

use self::comments::Comments;
use self::options::Extensions;
use crate::compile::Compiled;
use crate::ir::{ContractIr, Enum, EnumValue, Field, Kind, Label, Message, Method, Service};
use crate::problem::Problem;

/// Reads everything; what cannot be read becomes a problem and is left out.
pub fn read(compiled: &Compiled, problems: &mut Vec<Problem>) -> ContractIr {
    let pool = match DescriptorPool::decode(compiled.described.as_slice()) {
        Ok(pool) => pool,
        Err(error) => {
            problems.push(Problem::new("proto", "descriptor set", error.to_string()));
            return ContractIr::default();
        }
    };
    let reader = Reader { comments: Comments::new(&pool), extensions: Extensions::new(&pool) };
    // Imported files are others' business; those of their messages that we use have a JSON form of their own.
    let ours = |file: &FileDescriptor| compiled.files.iter().any(|name| name == file.name());
    let mut services: Vec<Service> = pool
        .services()
        .filter(|service| ours(&service.parent_file()))
        .map(|service| reader.service(&service, problems))
        .collect();
    services.sort_by(|a, b| a.full_name.cmp(&b.full_name));
    let contexts: BTreeSet<String> = services.iter().map(|service| service.context.clone()).collect();
    ContractIr {
        contexts: contexts.into_iter().collect(),
        services,
        messages: pool
            .all_messages()
            .filter(|message| !message.is_map_entry() && ours(&message.parent_file()))
            .map(|message| (message.full_name().to_owned(), reader.message(&message, problems)))
            .collect(),
        enums: pool
            .all_enums()
            .filter(|described| ours(&described.parent_file()))
            .map(|described| (described.full_name().to_owned(), reader.enumeration(&described)))
            .collect(),
    }
}

struct Reader {
    comments: Comments,
    extensions: Extensions,
}

impl Reader {
    fn service(&self, service: &ServiceDescriptor, problems: &mut Vec<Problem>) -> Service {
        let file = service.parent_file();
        Service {
            full_name: service.full_name().to_owned(),
            name: service.name().to_owned(),
            context: context(service.package_name()),
            file: file.name().to_owned(),
            comment: self.comments.of(&file, service.path()),
            methods: service.methods().filter_map(|method| self.method(&method, problems)).collect(),
        }
    }

    fn method(&self, method: &MethodDescriptor, problems: &mut Vec<Problem>) -> Option<Method> {
        let file = method.parent_file();
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let policy = self.extensions.method_policy(method).map_err(|messages| {
            problems.extend(messages.into_iter().map(|message| Problem::new(file.name(), &path, message)));
        });
        Some(Method {
            name: method.name().to_owned(),
            comment: self.comments.of(&file, method.path()),
            input: method.input().full_name().to_owned(),
            output: method.output().full_name().to_owned(),
            client_streaming: method.is_client_streaming(),
            server_streaming: method.is_server_streaming(),
            policy: policy.ok()?,
            http: self.extensions.http(method),
            path,
        })
    }

    fn message(&self, message: &MessageDescriptor, problems: &mut Vec<Problem>) -> Message {
        let file = message.parent_file();
        // prost-reflect sorts fields by number; the file's order is what a reader knows.
        let mut fields: Vec<FieldDescriptor> = message.fields().collect();
        fields.sort_by(|a, b| a.path().cmp(b.path()));
        Message {
            name: local_name(message.full_name(), message.package_name()),
            package: message.package_name().to_owned(),
            file: file.name().to_owned(),
            comment: self.comments.of(&file, message.path()),
            fields: fields.iter().map(|field| self.field(field, problems)).collect(),
            event: self.extensions.event_policy(message),
        }
    }

    fn field(&self, field: &FieldDescriptor, problems: &mut Vec<Problem>) -> Field {
        let file = field.parent_file();
        let policy = self.extensions.field_policy(field).unwrap_or_else(|message| {
            problems.push(Problem::new(file.name(), field.full_name(), message));
            None
        });
        let (label, kind) = label_and_kind(field);
        Field {
            name: field.name().to_owned(),
            json_name: field.json_name().to_owned(),
            number: field.number(),
            label,
            kind,
            oneof: field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned()),
            comment: self.comments.of(&file, field.path()),
            behaviors: self.extensions.behaviors(field),
            policy,
        }
    }

    fn enumeration(&self, described: &EnumDescriptor) -> Enum {
        let file = described.parent_file();
        let mut values: Vec<_> = described.values().collect();
        values.sort_by(|a, b| a.path().cmp(b.path()));
        let values = values.iter().map(|value| EnumValue {
            name: value.name().to_owned(),
            number: value.number(),
            comment: self.comments.of(&file, value.path()),
        });
        Enum {
            name: local_name(described.full_name(), described.package_name()),
            package: described.package_name().to_owned(),
            comment: self.comments.of(&file, described.path()),
            values: values.collect(),
        }
    }
}

fn label_and_kind(field: &FieldDescriptor) -> (Label, Kind) {
    if field.is_map()
        && let PoolKind::Message(entry) = field.kind()
    {
        let key = kind(&entry.map_entry_key_field().kind());
        return (Label::Map(key), kind(&entry.map_entry_value_field().kind()));
    }
    let label = match field.cardinality() {
        Cardinality::Repeated => Label::Repeated,
        _ if field.supports_presence() => Label::Optional,
        _ => Label::Singular,
    };
    (label, kind(&field.kind()))
}

fn kind(kind: &PoolKind) -> Kind {
    match kind {
        PoolKind::Double => Kind::Double,
        PoolKind::Float => Kind::Float,
        PoolKind::Int32 | PoolKind::Sint32 | PoolKind::Sfixed32 => Kind::Int32,
        PoolKind::Int64 | PoolKind::Sint64 | PoolKind::Sfixed64 => Kind::Int64,
        PoolKind::Uint32 | PoolKind::Fixed32 => Kind::Uint32,
        PoolKind::Uint64 | PoolKind::Fixed64 => Kind::Uint64,
        PoolKind::Bool => Kind::Bool,
        PoolKind::String => Kind::String,
        PoolKind::Bytes => Kind::Bytes,
        PoolKind::Message(message) => Kind::Message(message.full_name().to_owned()),
        PoolKind::Enum(described) => Kind::Enum(described.full_name().to_owned()),
    }
}

/// "ordermesh.order.v1" is context "order".
fn context(package: &str) -> String {
    package.split('.').nth(1).unwrap_or(package).to_owned()
}

fn local_name(full_name: &str, package: &str) -> String {
    full_name.strip_prefix(package).unwrap_or(full_name).trim_start_matches('.').to_owned()
}
