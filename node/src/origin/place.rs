//! The parts of an origin's name, checked so that none can be taken for something else by whoever gets them: an option, another host,
//! a line of its own.

/// The longest name that is looked at, in bytes.
const NAME_LEN_MAX: usize = 2_048;

/// Splits a name at its `://`; the scheme comes in small letters.
pub(super) fn scheme(text: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let known = ["ssh", "http", "https"];
    Some((known.into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?, rest))
}

/// Where a place is on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) user: Option<String>,
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// Splits what follows the scheme into where it is and the path, which begins with a slash or is empty.
pub(super) fn split(rest: &str) -> Result<(Authority, &str), String> {
    if rest.len() > NAME_LEN_MAX {
        return Err(format!("it is longer than {NAME_LEN_MAX} bytes"));
    }
    if rest.chars().any(char::is_control) {
        return Err("it holds control characters".to_owned());
    }
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(word(user, "user")?), place),
        None => (None, authority),
    };
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("it has an odd host")?)),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().map_err(|_| "its port is no number")?),
        None => None,
    };
    Ok((Authority { user, host: word(host, "host")?, port }, path))
}

/// Takes a host or a user: what no program takes for an option, and no shell for more than a word.
fn word(text: &str, what: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%+".contains(&byte);
    match text.as_bytes() {
        [] => Err(format!("it names no {what}")),
        [b'-', ..] => Err(format!("its {what} begins with -")),
        bytes if bytes.iter().copied().all(plain) => Ok(text.to_owned()),
        _ => Err(format!("its {what} holds odd characters")),
    }
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Undoes the escapes of a path, `%20` and so on.
pub(super) fn unescape(path: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, behind @ ..] = rest {
        let escape = behind.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = match (first, escape) {
            (b'%', None) => return Err("a % in it stands for nothing: write %25".to_owned()),
            (_, Some(digits)) => {
                let byte = data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok();
                byte.and_then(|byte| byte.first().copied())
                    .ok_or("a % in it stands for nothing: write %25")?
            }
            (byte, None) => *byte,
        };
        if byte.is_ascii_control() {
            return Err("it holds control characters".to_owned());
        }
        bytes.push(byte);
        rest = if escape.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    Ok(bytes)
}

/// Writes a path so that [`unescape`] gives it again, and no shell and no server takes any of it for more.
pub(super) fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for &byte in path {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) => {
                text.push(char::from(byte));
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
