//! `#[derive(Event)]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Data, DeriveInput, Error, Fields, LitInt, LitStr, Member, Path, Result, Token,
    meta::ParseNestedMeta,
    parenthesized,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    spanned::Spanned,
};

/// The implementation of the trait for `input`.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Attributes { event_type, version, source, key, codec, upcasters } = Attributes::of(input)?;
    let event_type = event_type.ok_or_else(|| {
        Error::new(input.ident.span(), "an event needs a type: `#[event(type = \"user.created\")]`")
    })?;
    let version = version.map_or(1, |version| version.number);
    check_chain(version, &upcasters)?;
    let version = quote! { const VERSION: u32 = #version; };
    let source = source.map(|source| quote! { const SOURCE: &'static str = #source; });
    let codec = codec.map_or_else(|| quote! { ::milena_service::JsonCodec }, |codec| quote! { #codec });
    let key = key.map(|key| key_method(&key, &input.data)).transpose()?;
    let upcast = (!upcasters.is_empty()).then(|| upcast_method(&upcasters));

    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::milena_service::Event for #name #arguments #bounds {
            const TYPE: &'static str = #event_type;
            #version
            #source
            type Codec = #codec;
            #key
            #upcast
        }
    })
}

/// What `#[event(…)]` says.
#[derive(Default)]
struct Attributes {
    event_type: Option<LitStr>,
    version: Option<Version>,
    source: Option<LitStr>,
    key: Option<Member>,
    codec: Option<Path>,
    upcasters: Vec<Upcaster>,
}

/// `1 => v1_to_v2`.
struct Upcaster {
    from: Version,
    function: Path,
}

struct Version {
    number: u32,
    span: Span,
}

const KNOWN: &str = "known are `type`, `version`, `source`, `key`, `codec` and `upcast(…)`";

impl Attributes {
    fn of(input: &DeriveInput) -> Result<Self> {
        let mut attributes = Self::default();
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| attributes.read(&meta))?;
        }
        Ok(attributes)
    }

    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match name.as_str() {
            "type" => set(&mut self.event_type, meta, not_empty(meta.value()?.parse()?)?),
            "version" => set(&mut self.version, meta, meta.value()?.parse()?),
            "source" => set(&mut self.source, meta, not_empty(meta.value()?.parse()?)?),
            "key" => set(&mut self.key, meta, meta.value()?.parse()?),
            "codec" => set(&mut self.codec, meta, meta.value()?.parse()?),
            "upcast" if self.upcasters.is_empty() => {
                let content;
                parenthesized!(content in meta.input);
                let upcasters = Punctuated::<Upcaster, Token![,]>::parse_terminated(&content)?;
                self.upcasters = upcasters.into_iter().collect();
                match self.upcasters.is_empty() {
                    true => Err(meta.error("it names no upcaster: `upcast(1 => v1_to_v2)`")),
                    false => Ok(()),
                }
            }
            "upcast" => Err(meta.error("it is said twice")),
            _ => Err(meta.error(format!("nothing like that is said of an event; {KNOWN}"))),
        }
    }
}

impl Parse for Upcaster {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let from = input.parse()?;
        input.parse::<Token![=>]>()?;
        Ok(Self { from, function: input.parse()? })
    }
}

impl Parse for Version {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let literal: LitInt = input.parse()?;
        match literal.base10_parse() {
            Ok(0) | Err(_) => Err(Error::new(literal.span(), "versions are numbers from 1 to 4294967295")),
            Ok(number) => Ok(Self { number, span: literal.span() }),
        }
    }
}

fn set<T>(place: &mut Option<T>, meta: &ParseNestedMeta<'_>, value: T) -> Result<()> {
    match place.replace(value) {
        Some(_) => Err(meta.error("it is said twice")),
        None => Ok(()),
    }
}

fn not_empty(text: LitStr) -> Result<LitStr> {
    if text.value().is_empty() { Err(Error::new(text.span(), "it must not be empty")) } else { Ok(text) }
}

/// The upcasters must come in order and without a gap, and lead to the current version.
fn check_chain(version: u32, upcasters: &[Upcaster]) -> Result<()> {
    let mut expected = None;
    for Upcaster { from: Version { number: from, span }, .. } in upcasters {
        let say = |text: String| Err(Error::new(*span, text));
        if *from >= version {
            return say(format!(
                "there is nothing behind version {from} to bring it up to: the current one is {version}"
            ));
        }
        match expected.replace(from + 1) {
            Some(expected) if expected != *from => {
                return say(format!("behind version {} comes {expected}, not {from}", expected - 1));
            }
            _ => {}
        }
    }
    match (upcasters.last(), expected) {
        (Some(last), Some(reached)) if reached < version => {
            let text = format!(
                "it leads to version {reached}, and nothing from there to the current one, {version}"
            );
            Err(Error::new(last.from.span, text))
        }
        _ => Ok(()),
    }
}

fn key_method(key: &Member, data: &Data) -> Result<TokenStream> {
    let Data::Struct(data) = data else {
        return Err(Error::new(
            key.span(),
            "only structs have fields: write the trait by hand for another key",
        ));
    };
    if !data.fields.members().any(|member| member == *key) {
        let none = match &data.fields {
            Fields::Unit => "the struct has no fields".to_owned(),
            fields => {
                let names = fields.members().map(|member| format!("`{}`", quote! { #member }));
                format!("no field has this name; there are {}", names.collect::<Vec<_>>().join(", "))
            }
        };
        return Err(Error::new(key.span(), none));
    }
    // What is wrong with the field's type is said where it is named as the key.
    let text = quote_spanned! { key.span() => ::milena_service::__private::key_of(&self.#key) };
    Ok(quote! {
        fn key(&self) -> ::core::option::Option<::milena_service::__private::Bytes> {
            #text
        }
    })
}

fn upcast_method(upcasters: &[Upcaster]) -> TokenStream {
    let steps = upcasters.iter().map(|Upcaster { from, function }| {
        let call = quote_spanned! { function.span() =>
            ::milena_service::__private::IntoUpcast::into_upcast(#function(value))
        };
        let from = proc_macro2::Literal::u32_unsuffixed(from.number);
        quote! { #from => #call, }
    });
    quote! {
        fn upcast(
            from: u32,
            value: ::milena_service::__private::Value,
        ) -> ::core::result::Result<::milena_service::__private::Value, ::milena_service::UpcastError> {
            match from {
                #(#steps)*
                _ => ::core::result::Result::Err(::milena_service::UpcastError::missing(from)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use syn::parse_quote;

    use super::*;

    fn refused(input: &DeriveInput) -> String {
        expand(input).expect_err("it must be refused").to_string()
    }

    const NUMBERS: &str = "versions are numbers from 1 to 4294967295";

    /// Why `#[event(…)]` with this in it is refused.
    fn why(says: TokenStream) -> String {
        refused(&parse_quote! { #[event(#says)] struct UserCreated { id: u64, mail: String } })
    }

    #[test]
    fn everything_that_is_said_is_written_down() {
        let input: DeriveInput = parse_quote! {
            #[event(type = "user.created", version = 3, source = "/users", key = id)]
            #[event(codec = crate::Avro, upcast(1 => v1::up, 2 => v2::up,))]
            struct UserCreated<T> where T: Clone { id: T }
        };
        let expected = quote! {
            #[automatically_derived]
            impl<T> ::milena_service::Event for UserCreated<T> where T: Clone {
                const TYPE: &'static str = "user.created";
                const VERSION: u32 = 3u32;
                const SOURCE: &'static str = "/users";
                type Codec = crate::Avro;
                fn key(&self) -> ::core::option::Option<::milena_service::__private::Bytes> {
                    ::milena_service::__private::key_of(&self.id)
                }
                fn upcast(
                    from: u32,
                    value: ::milena_service::__private::Value,
                ) -> ::core::result::Result<::milena_service::__private::Value, ::milena_service::UpcastError> {
                    match from {
                        1 => ::milena_service::__private::IntoUpcast::into_upcast(v1::up(value)),
                        2 => ::milena_service::__private::IntoUpcast::into_upcast(v2::up(value)),
                        _ => ::core::result::Result::Err(::milena_service::UpcastError::missing(from)),
                    }
                }
            }
        };
        assert_eq!(expand(&input).unwrap().to_string(), expected.to_string());
    }

    #[test]
    fn only_the_type_must_be_given() {
        let written = expand(&parse_quote! { #[event(type = "ticked")] enum Ticked { A } }).unwrap();
        let expected = quote! {
            #[automatically_derived]
            impl ::milena_service::Event for Ticked {
                const TYPE: &'static str = "ticked";
                const VERSION: u32 = 1u32;
                type Codec = ::milena_service::JsonCodec;
            }
        };
        assert_eq!(written.to_string(), expected.to_string());
        assert!(refused(&parse_quote! { struct Ticked; }).starts_with("an event needs a type"));
        assert!(why(quote! { version = 1 }).starts_with("an event needs a type"));
    }

    #[test]
    fn what_is_said_wrongly_is_refused() {
        assert_eq!(why(quote! { type = "" }), "it must not be empty");
        assert_eq!(why(quote! { type = "a", source = "" }), "it must not be empty");
        assert_eq!(why(quote! { type = "a", type = "b" }), "it is said twice");
        assert_eq!(why(quote! { type = "a", version = 0 }), NUMBERS);
        assert_eq!(why(quote! { type = "a", version = 4294967296 }), NUMBERS);
        assert_eq!(why(quote! { type = "a", version = -1 }), NUMBERS);
        assert_eq!(why(quote! { type = "a", version = "1" }), "expected integer literal");
        assert_eq!(why(quote! { type = 1 }), "expected string literal");
        assert!(why(quote! { type = "a", topic = "b" }).contains("known are `type`"));
        assert!(why(quote! { type = "a", a::b = "b" }).contains("known are `type`"));
        assert!(refused(&parse_quote! { #[event = "a"] struct Ticked; }).contains("#[event(...)]"));
    }

    #[test]
    fn the_key_names_a_field() {
        let id = "no field has this name; there are `id`, `mail`";
        assert_eq!(why(quote! { type = "a", key = user_id }), id);
        assert_eq!(why(quote! { type = "a", key = 0 }), id);
        let on =
            |input: DeriveInput| expand(&input).map(|written| written.to_string()).map_err(|e| e.to_string());
        let tuple = on(parse_quote! { #[event(type = "a", key = 1)] struct A(u8, u8); }).unwrap();
        assert!(tuple.contains("self . 1"), "{tuple}");
        let unit = on(parse_quote! { #[event(type = "a", key = b)] struct A; });
        assert_eq!(unit, Err("the struct has no fields".to_owned()));
        let choice = on(parse_quote! { #[event(type = "a", key = b)] enum A { B { b: u8 } } });
        assert!(choice.unwrap_err().starts_with("only structs have fields"));
    }

    #[test]
    fn upcasters_lead_without_a_gap_to_the_current_version() {
        let of = |version: u32, steps: TokenStream| {
            let version = proc_macro2::Literal::u32_suffixed(version);
            let input = parse_quote! { #[event(type = "a", version = #version, upcast(#steps))] struct A; };
            expand(&input).map(drop).map_err(|error| error.to_string())
        };
        let said = |text: &str| Err(text.to_owned());
        assert_eq!(of(3, quote! { 1 => a, 2 => b }), Ok(()));
        assert_eq!(of(3, quote! { 2 => b }), Ok(()), "version 1 is refused then");
        assert_eq!(of(4, quote! { 1 => a, 3 => c }), said("behind version 1 comes 2, not 3"));
        assert_eq!(of(3, quote! { 2 => b, 1 => a }), said("behind version 2 comes 3, not 1"));
        assert_eq!(of(4, quote! { 2 => b, 2 => b, 3 => c }), said("behind version 2 comes 3, not 2"));
        assert_eq!(
            of(4, quote! { 1 => a, 2 => b }),
            said("it leads to version 3, and nothing from there to the current one, 4")
        );
        let beyond = "there is nothing behind version 2 to bring it up to: the current one is 2";
        assert_eq!(of(2, quote! { 1 => a, 2 => b }), said(beyond));
        assert_eq!(of(2, quote! { 0 => z, 1 => a }), said(NUMBERS));
        assert_eq!(of(2, quote! {}), said("it names no upcaster: `upcast(1 => v1_to_v2)`"));
        assert!(of(2, quote! { 1 = a }).is_err());
    }
}
