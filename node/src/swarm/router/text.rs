//! What routers say, and what they are told (UPnP, Internet Gateway Device 1 and 2).
//!
//! Of the XML that they send a few elements count, which are looked for as they stand: nothing is built of it, so that no nesting of
//! theirs costs more than its bytes.

use std::net::{IpAddr, SocketAddr};

use super::{Port, Refusal};

/// What is asked of everybody on the local network.
pub(super) const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\
     ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nMAN: \"ssdp:discover\"\r\nMX: 3\r\n\r\n";

/// What lets others in, in the order in which it is preferred.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// Returns where an answer to [`SEARCH`] says that the router describes itself: address and path. Only its own address counts.
pub(super) fn location(answer: &[u8], from: IpAddr) -> Option<(SocketAddr, String)> {
    let text = std::str::from_utf8(answer).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let url = fields.find(|(name, _)| name.trim().eq_ignore_ascii_case("location"))?.1;
    place(url.trim()).filter(|(at, _)| at.ip() == from)
}

/// Takes `http://IP:PORT/PATH` apart.
fn place(url: &str) -> Option<(SocketAddr, String)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let at = authority.parse().or_else(|_| format!("{authority}:80").parse()).ok()?;
    Some((at, format!("/{path}")))
}

/// Returns the best service that a description at an address names, and the path where it is asked.
pub(super) fn service(description: &str, at: SocketAddr) -> Option<(&'static str, String)> {
    let offered = |kind: &str| {
        let services = elements(description, "service");
        let found = services.filter(|inside| element(inside, "serviceType") == Some(kind));
        let url = found.filter_map(|inside| element(inside, "controlURL")).next()?;
        let url = url.replace("&amp;", "&");
        match place(&url) {
            Some((other, path)) => (other == at).then_some(path),
            None => Some(format!("/{}", url.trim_start_matches('/'))),
        }
    };
    SERVICES.into_iter().find_map(|kind| Some((kind, offered(kind)?)))
}

/// Returns the text of an action's request; its arguments stand in the order that the service wants them in.
pub(super) fn action(service: &str, name: &str, arguments: &[(&str, String)]) -> String {
    let arguments: String = arguments
        .iter()
        .map(|(argument, value)| format!("<{argument}>{value}</{argument}>"))
        .collect();
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
         <u:{name} xmlns:u=\"{service}\">{arguments}</u:{name}></s:Body></s:Envelope>"
    )
}

/// Returns what names a port.
pub(super) fn port_arguments(port: Port) -> [(&'static str, String); 3] {
    [
        ("NewRemoteHost", String::new()),
        ("NewExternalPort", port.number.to_string()),
        ("NewProtocol", if port.tcp { "TCP" } else { "UDP" }.to_owned()),
    ]
}

/// Checks that an action was done.
pub(super) fn done(answer: &str, name: &str) -> Result<(), Refusal> {
    if answer.contains(&format!("{name}Response")) {
        return Ok(());
    }
    match (element(answer, "errorCode"), element(answer, "errorDescription")) {
        (None, _) => Err(Refusal::Garbled),
        (Some(code), said) => {
            let said = format!("{} ({code})", said.unwrap_or_default());
            Err(Refusal::Said(said.chars().take(SAID_CHARS).collect()))
        }
    }
}

/// How much of what a router says is kept.
const SAID_CHARS: usize = 200;

/// Returns the address that an answer to `GetExternalIPAddress` tells.
pub(super) fn address(answer: &str) -> Result<IpAddr, Refusal> {
    done(answer, "GetExternalIPAddress")?;
    let ip = element(answer, "NewExternalIPAddress").and_then(|ip| ip.parse().ok());
    ip.ok_or(Refusal::Garbled)
}

/// Returns what is in the first element of a name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    elements(text, name).next().map(str::trim)
}

/// Returns what is in the elements of a name, none of which is in another.
fn elements<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (opening, closing) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let (inside, behind) = rest.split_once(&opening)?.1.split_once(&closing)?;
        rest = behind;
        Some(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "192.168.1.1";

    fn located(answer: &str) -> Option<(String, String)> {
        let found = location(answer.as_bytes(), HOME.parse().unwrap());
        found.map(|(at, path)| (at.to_string(), path))
    }

    #[test]
    fn a_router_is_asked_where_it_is_and_nowhere_else() {
        let right = Some(("192.168.1.1:49000".to_owned(), "/igddesc.xml".to_owned()));
        assert_eq!(
            located("HTTP/1.1 200 OK\r\nlocation: http://192.168.1.1:49000/igddesc.xml\r\n\r\n"),
            right
        );
        let right = Some(("192.168.1.1:80".to_owned(), "/".to_owned()));
        assert_eq!(located("HTTP/1.1 200 OK\r\nLocation:http://192.168.1.1\r\n\r\n"), right);
        for lie in [
            "LOCATION: http://127.0.0.1:3284/metrics",
            "LOCATION: http://example.org/",
            "LOCATION: https://192.168.1.1/",
            "LOCATION: nowhere",
            "SERVER: http://192.168.1.1/",
            "",
        ] {
            assert_eq!(located(lie), None, "{lie}");
        }
        assert_eq!(location(b"\xff\xfe\x00", HOME.parse().unwrap()), None);
    }

    #[test]
    fn the_service_that_lets_others_in_is_found_among_others() {
        let of = |services: &[(&str, &str)]| {
            let services: String = services
                .iter()
                .map(|(kind, url)| format!("<service>\n<serviceType>{kind}</serviceType>\n<controlURL> {url} </controlURL></service>"))
                .collect();
            let at = format!("{HOME}:5000").parse().unwrap();
            service(
                &format!("<root><device><serviceList>{services}</serviceList></device></root>"),
                at,
            )
        };
        let other = ("urn:schemas-upnp-org:service:Layer3Forwarding:1", "/other");
        let [two, one, ppp] = SERVICES;
        assert_eq!(of(&[other, (one, "/control")]), Some((one, "/control".to_owned())));
        assert_eq!(
            of(&[(ppp, "a"), (two, "ctl?a=1&amp;b=2")]),
            Some((two, "/ctl?a=1&b=2".to_owned()))
        );
        assert_eq!(of(&[(ppp, "http://192.168.1.1:5000/c")]), Some((ppp, "/c".to_owned())));
        assert_eq!(of(&[(one, "http://127.0.0.1:5000/c")]), None, "elsewhere nothing is asked");
        assert_eq!(of(&[other]), None);
    }

    #[test]
    fn answers_are_understood_and_anything_else_is_refused() {
        let told = "<s:Body><u:GetExternalIPAddressResponse xmlns:u=\"x\"><NewExternalIPAddress>5.5.5.5</NewExternalIPAddress></u:GetExternalIPAddressResponse></s:Body>";
        assert_eq!(address(told).ok(), Some("5.5.5.5".parse().unwrap()));
        let fault = "<s:Fault><UPnPError><errorCode>718</errorCode><errorDescription>ConflictInMappingEntry</errorDescription></UPnPError></s:Fault>";
        let refusal = done(fault, "AddPortMapping").unwrap_err();
        assert_eq!(refusal.to_string(), "ConflictInMappingEntry (718)");
        let long = format!(
            "<errorCode>1</errorCode><errorDescription>{}</errorDescription>",
            "ä".repeat(10_000)
        );
        let refusal = done(&long, "AddPortMapping").unwrap_err();
        assert_eq!(refusal.to_string().chars().count(), SAID_CHARS);
        for text in [
            "",
            "<errorCode>",
            "<GetExternalIPAddressResponse><NewExternalIPAddress>x</NewExternalIPAddress>",
        ] {
            assert!(matches!(address(text), Err(Refusal::Garbled)), "{text}");
        }
        // Nesting is nothing to it.
        let deep = "<service>".repeat(100_000);
        assert_eq!(service(&deep, format!("{HOME}:5000").parse().unwrap()), None);
    }
}
