//! Names of methods and header fields. It knows spellings and compact forms, and nothing of what values mean.

/// A request's method. Unknown ones keep their text in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Update,
    Info,
    Prack,
    Refer,
    Message,
    Subscribe,
    Notify,
    Publish,
    Other,
}

impl Method {
    const ALL: [Self; 14] = [
        Self::Invite,
        Self::Ack,
        Self::Bye,
        Self::Cancel,
        Self::Options,
        Self::Register,
        Self::Update,
        Self::Info,
        Self::Prack,
        Self::Refer,
        Self::Message,
        Self::Subscribe,
        Self::Notify,
        Self::Publish,
    ];

    /// Reads a method; they are case-sensitive (RFC 3261 §7.1).
    pub fn of(text: &[u8]) -> Self {
        Self::ALL.into_iter().find(|method| method.name().as_bytes() == text).unwrap_or(Self::Other)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Prack => "PRACK",
            Self::Refer => "REFER",
            Self::Message => "MESSAGE",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Publish => "PUBLISH",
            Self::Other => "",
        }
    }
}

macro_rules! names {
    ($($variant:ident $full:literal $compact:literal),* $(,)?) => {
        /// A header field's name: those the stack works with, and all others.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Name {
            $($variant,)*
            Other,
        }

        impl Name {
            /// Reads a name in its long or compact form, in any case.
            pub fn of(text: &[u8]) -> Self {
                $(if text.eq_ignore_ascii_case($full) || (!$compact.is_empty() && text.eq_ignore_ascii_case($compact)) {
                    return Self::$variant;
                })*
                Self::Other
            }

            /// The long form as we write it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => match std::str::from_utf8($full) { Ok(text) => text, Err(_) => "" },)*
                    Self::Other => "",
                }
            }
        }
    };
}

// Ordered by how often they come, since `of` tries them in this order.
names! {
    Via b"Via" b"v",
    From b"From" b"f",
    To b"To" b"t",
    CallId b"Call-ID" b"i",
    CSeq b"CSeq" b"",
    Contact b"Contact" b"m",
    MaxForwards b"Max-Forwards" b"",
    ContentLength b"Content-Length" b"l",
    ContentType b"Content-Type" b"c",
    Route b"Route" b"",
    RecordRoute b"Record-Route" b"",
    Allow b"Allow" b"",
    Supported b"Supported" b"k",
    Require b"Require" b"",
    ProxyRequire b"Proxy-Require" b"",
    SessionExpires b"Session-Expires" b"x",
    MinSe b"Min-SE" b"",
    UserAgent b"User-Agent" b"",
    Server b"Server" b"",
    Authorization b"Authorization" b"",
    ProxyAuthorization b"Proxy-Authorization" b"",
    WwwAuthenticate b"WWW-Authenticate" b"",
    ProxyAuthenticate b"Proxy-Authenticate" b"",
    Expires b"Expires" b"",
    RSeq b"RSeq" b"",
    RAck b"RAck" b"",
    RetryAfter b"Retry-After" b"",
    Path b"Path" b"",
    Reason b"Reason" b"",
    Identity b"Identity" b"y",
    AssertedIdentity b"P-Asserted-Identity" b"",
    Privacy b"Privacy" b"",
    Diversion b"Diversion" b"",
    HistoryInfo b"History-Info" b"",
    UserToUser b"User-to-User" b"",
    ContentDisposition b"Content-Disposition" b"",
    ContentEncoding b"Content-Encoding" b"e",
    Subject b"Subject" b"s",
    ReferTo b"Refer-To" b"r",
    Event b"Event" b"o",
    InfoPackage b"Info-Package" b"",
    Accept b"Accept" b"",
    Unsupported b"Unsupported" b"",
    Warning b"Warning" b"",
    ErrorInfo b"Error-Info" b"",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_and_oddly_cased_names_are_known() {
        assert_eq!(Name::of(b"v"), Name::Via);
        assert_eq!(Name::of(b"cAlL-iD"), Name::CallId);
        assert_eq!(Name::of(b"X-Own"), Name::Other);
        assert_eq!(Name::CallId.text(), "Call-ID");
        assert_eq!(Method::of(b"INVITE"), Method::Invite);
        assert_eq!(Method::of(b"invite"), Method::Other);
    }
}
