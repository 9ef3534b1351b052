use crate::schema::{Field, Message, Type, Versions};

/// The Rust type of a field.
pub(super) fn rust_type(field: &Field) -> String {
    let ty = bare_type(&field.ty);
    if is_option(field) { format!("Option<{ty}>") } else { ty }
}

fn bare_type(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::Int8 => "i8".to_owned(),
        Type::Int16 => "i16".to_owned(),
        Type::Uint16 => "u16".to_owned(),
        Type::Int32 => "i32".to_owned(),
        Type::Int64 => "i64".to_owned(),
        Type::Float64 => "f64".to_owned(),
        Type::Uuid => "Uuid".to_owned(),
        Type::String => "Str".to_owned(),
        Type::Bytes | Type::Records => "Bytes".to_owned(),
        Type::Struct(name) => name.clone(),
        Type::Array(element) => format!("Vec<{}>", bare_type(element)),
    }
}

pub(super) fn is_option(field: &Field) -> bool {
    !field.nullable.is_empty()
}

/// The method of `Reader` and `Writer` for a value that is neither a struct nor an array.
pub(super) fn method(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::Int8 => "i8",
        Type::Int16 => "i16",
        Type::Uint16 => "u16",
        Type::Int32 => "i32",
        Type::Int64 => "i64",
        Type::Float64 => "f64",
        Type::Uuid => "uuid",
        Type::String => "string",
        Type::Bytes | Type::Records => "bytes",
        Type::Array(_) => "array",
        Type::Struct(_) => "struct",
    }
}

/// The default of a field as Kafka's own generator reads the schema.
enum DefaultValue {
    /// `Default::default()` of the bare type.
    Empty,
    Null,
    Literal(String),
}

fn default_of(field: &Field) -> Result<DefaultValue, String> {
    let text = field.default.as_deref().unwrap_or("");
    match &field.ty {
        // Records are null unless said otherwise, all else is null only if said.
        Type::Records if is_option(field) => Ok(DefaultValue::Null),
        _ if text == "null" && is_option(field) => Ok(DefaultValue::Null),
        _ if text.is_empty() => Ok(DefaultValue::Empty),
        Type::Bool => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(DefaultValue::Literal("true".to_owned())),
            "false" => Ok(DefaultValue::Empty),
            _ => Err(format!("{}: default {text:?} of a bool", field.name)),
        },
        Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64 => integer(field, text),
        Type::String => Ok(DefaultValue::Literal(format!("Str::from({text:?})"))),
        other => Err(format!("{}: default {text:?} of {other:?}", field.name)),
    }
}

fn integer(field: &Field, text: &str) -> Result<DefaultValue, String> {
    let value = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|e| format!("{}: default {text:?}: {e}", field.name))?;
    let is = |bound: i64, ty: Type| value == bound && field.ty == ty;
    Ok(if value == 0 {
        DefaultValue::Empty
    } else if is(i32::MAX.into(), Type::Int32) || is(i64::MAX, Type::Int64) {
        DefaultValue::Literal(format!("{}::MAX", method(&field.ty)))
    } else if is(i32::MIN.into(), Type::Int32) || is(i64::MIN, Type::Int64) {
        DefaultValue::Literal(format!("{}::MIN", method(&field.ty)))
    } else {
        DefaultValue::Literal(value.to_string())
    })
}

/// The default of a field as an expression.
pub(super) fn default_value(field: &Field) -> Result<String, String> {
    let value = match default_of(field)? {
        DefaultValue::Null => return Ok("None".to_owned()),
        DefaultValue::Literal(literal) => literal,
        DefaultValue::Empty => match &field.ty {
            Type::Bool => "false".to_owned(),
            Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64 => "0".to_owned(),
            Type::Float64 => "0.0".to_owned(),
            Type::Uuid => "Uuid::ZERO".to_owned(),
            Type::String => "Str::default()".to_owned(),
            Type::Bytes | Type::Records => "Bytes::new()".to_owned(),
            Type::Struct(name) => format!("{name}::default()"),
            Type::Array(_) => "Vec::new()".to_owned(),
        },
    };
    Ok(if is_option(field) { format!("Some({value})") } else { value })
}

/// Whether the schema's default is that of the Rust type.
pub(super) fn is_type_default(field: &Field) -> bool {
    match default_of(field) {
        Ok(DefaultValue::Null) => true,
        Ok(DefaultValue::Empty) => !is_option(field),
        Ok(DefaultValue::Literal(_)) | Err(_) => false,
    }
}

/// The expression that is true when the field does not hold its default. `value` is the place of the field.
pub(super) fn is_set(field: &Field, value: &str) -> Result<String, String> {
    let default = default_of(field)?;
    if is_option(field) {
        return Ok(match (default, &field.ty) {
            (DefaultValue::Null, _) => format!("{value}.is_some()"),
            (DefaultValue::Empty, Type::String | Type::Bytes | Type::Records | Type::Array(_)) => {
                format!("{value}.as_ref().is_none_or(|v| !v.is_empty())")
            }
            _ => format!("{value} != {}", default_value(field)?),
        });
    }
    Ok(match (default, &field.ty) {
        (DefaultValue::Literal(_), Type::Bool) => format!("!{value}"),
        (_, Type::Bool) => value.to_owned(),
        (DefaultValue::Empty, Type::String | Type::Bytes | Type::Records | Type::Array(_)) => {
            format!("!{value}.is_empty()")
        }
        _ => format!("{value} != {}", default_value(field)?),
    })
}

/// The fewest bytes that an element of `ty` takes in any of `versions`; at least one, for a count must be bounded by it.
pub(super) fn min_size(message: &Message, ty: &Type, versions: Versions) -> Result<usize, String> {
    let mut least = usize::MAX;
    for version in versions.min..=versions.max {
        least = least.min(size_at(message, ty, version)?);
    }
    Ok(if least == usize::MAX { 1 } else { least.max(1) })
}

fn size_at(message: &Message, ty: &Type, version: i16) -> Result<usize, String> {
    let flexible = message.flexible.contains(version);
    Ok(match ty {
        Type::Bool | Type::Int8 => 1,
        Type::Int16 | Type::Uint16 => 2,
        Type::Int32 => 4,
        Type::Int64 | Type::Float64 => 8,
        Type::Uuid => 16,
        Type::String | Type::Bytes | Type::Records | Type::Array(_) if flexible => 1,
        Type::String => 2,
        Type::Bytes | Type::Records | Type::Array(_) => 4,
        Type::Struct(name) => {
            let mut size = usize::from(flexible);
            for field in &message.find_struct(name)?.fields {
                let tagged = field.tag.is_some_and(|(_, tagged)| tagged.contains(version));
                if !field.versions.contains(version) || tagged {
                    continue;
                }
                // A struct that may be null can be one byte.
                let null_struct = matches!(field.ty, Type::Struct(_)) && field.nullable.contains(version);
                size += if null_struct { 1 } else { size_at(message, &field.ty, version)? };
            }
            size
        }
    })
}
