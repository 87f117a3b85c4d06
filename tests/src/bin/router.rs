//! A router that is none: it answers UPnP on the local network as its first argument says, and prints what it is asked.
//!
//! It is a program, so that it can be run in a network of its own. It knows what a gateway is asked for: a search by multicast (SSDP), a
//! description, and three actions (SOAP). Printed are `search`, `add PROTOCOL PORT TO LEASE`, `remove PROTOCOL PORT`, and, of an answer
//! without an end, `cut BYTES`: how much of it there was when nobody took more.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// Where gateways are searched for.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const SEARCH_PORT: u16 = 1900;
const HTTP_PORT: u16 = 5000;
/// What it is asked for at most, in bytes.
const BODY_MAX: usize = 1 << 20;

const DESCRIPTION: &str = r#"<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceList><device><deviceList><device>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><SCPDURL>/actions</SCPDURL>
<controlURL>/control</controlURL></service></serviceList></device></deviceList></device></deviceList></device></root>"#;

const ACTIONS: &str = r#"<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0"><actionList>
<action><name>GetExternalIPAddress</name><argumentList>
<argument><name>NewExternalIPAddress</name><direction>out</direction></argument></argumentList></action>
<action><name>AddPortMapping</name><argumentList>
<argument><name>NewRemoteHost</name><direction>in</direction></argument>
<argument><name>NewExternalPort</name><direction>in</direction></argument>
<argument><name>NewProtocol</name><direction>in</direction></argument>
<argument><name>NewInternalPort</name><direction>in</direction></argument>
<argument><name>NewInternalClient</name><direction>in</direction></argument>
<argument><name>NewEnabled</name><direction>in</direction></argument>
<argument><name>NewPortMappingDescription</name><direction>in</direction></argument>
<argument><name>NewLeaseDuration</name><direction>in</direction></argument></argumentList></action>
<action><name>DeletePortMapping</name><argumentList>
<argument><name>NewRemoteHost</name><direction>in</direction></argument>
<argument><name>NewExternalPort</name><direction>in</direction></argument>
<argument><name>NewProtocol</name><direction>in</direction></argument></argumentList></action></actionList></scpd>"#;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [how, own, outside] = &words[..] else {
        panic!("HOW, ADDRESS and its address outside are due")
    };
    let own: Ipv4Addr = own.parse().unwrap();
    let kind = Kind { how: how.clone(), outside: outside.clone() };
    let listener = TcpListener::bind((own, HTTP_PORT)).unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SEARCH_PORT)).unwrap();
    socket.join_multicast_v4(&GROUP, &own).unwrap();
    println!("ready");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let kind = kind.clone();
            // Whoever goes away in between is not waited for.
            thread::spawn(move || drop(answer(stream, &kind)));
        }
    });
    let mut asked = [0; 2_048];
    loop {
        let (len, from) = socket.recv_from(&mut asked).unwrap();
        if !asked[..len].starts_with(b"M-SEARCH") {
            continue;
        }
        println!("search");
        let location = format!("http://{own}:{HTTP_PORT}/description");
        let found = |location: &str| format!("HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n");
        let said: Vec<Vec<u8>> = match how.as_str() {
            "dumb" => Vec::new(),
            "garbled" => vec![
                b"\xff\xfe\x00".to_vec(),
                found("nowhere").into_bytes(),
                found(&format!("http://{own}:1/")).into_bytes(),
                found(&location).into_bytes(),
            ],
            _ => vec![found(&location).into_bytes()],
        };
        for datagram in said {
            // Whoever asked may be gone.
            let _ = socket.send_to(&datagram, from);
        }
    }
}

/// What kind of router it is.
#[derive(Clone)]
struct Kind {
    how: String,
    /// What it says that its address in the world is.
    outside: String,
}

/// Answers one request.
fn answer(stream: TcpStream, kind: &Kind) -> std::io::Result<()> {
    let how = kind.how.as_str();
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut lines, mut line) = (Vec::new(), String::new());
    while reader.read_line(&mut line)? > 2 {
        lines.push(std::mem::take(&mut line));
    }
    let header = |name: &str| {
        let mut fields = lines.iter().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let len = header("content-length").and_then(|len| len.parse::<usize>().ok()).unwrap_or(0);
    let mut body = vec![0; len.min(BODY_MAX)];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let text = match lines.first().and_then(|line| line.split(' ').nth(1)) {
        _ if how == "mute" => {
            // It holds the line, and says nothing.
            thread::sleep(Duration::from_secs(3_600));
            return Ok(());
        }
        _ if how == "garbled" => "<root><device><serviceList>\u{1}".repeat(100),
        _ if how == "endless" => return write_forever(&stream),
        Some("/description") => DESCRIPTION.to_owned(),
        Some("/actions") => ACTIONS.to_owned(),
        _ if how == "talkative" => return write_forever(&stream),
        _ => act(header("soapaction").unwrap_or_default(), &body, kind),
    };
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    (&stream).write_all((head + &text).as_bytes())
}

/// Writes an answer that has no end, until nobody takes more.
fn write_forever(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    let more = "<service><serviceType>".repeat(1_000);
    let mut len: usize = 0;
    loop {
        match stream.write(more.as_bytes()) {
            Ok(written) => len += written,
            Err(error) => {
                println!("cut {len}");
                return Err(error);
            }
        }
    }
}

/// Does what an action says, as far as that goes.
fn act(action: &str, body: &str, Kind { how, outside }: &Kind) -> String {
    let value = |name: &str| {
        let rest = body.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
        rest.split_once('<').map_or("", |(value, _)| value)
    };
    let (protocol, port) = (value("NewProtocol"), value("NewExternalPort"));
    let name = action.trim_matches('"').rsplit('#').next().unwrap_or_default();
    let inside = match name {
        "GetExternalIPAddress" => {
            format!("<NewExternalIPAddress>{outside}</NewExternalIPAddress>")
        }
        "AddPortMapping" if how == "refusing" => return fault(606, "Action not authorized"),
        "AddPortMapping" => {
            let (to, lease) = (value("NewInternalClient"), value("NewLeaseDuration"));
            println!("add {protocol} {port} {to} {lease}");
            String::new()
        }
        "DeletePortMapping" => {
            println!("remove {protocol} {port}");
            String::new()
        }
        _ => return fault(401, "Invalid action"),
    };
    envelope(&format!(
        r#"<u:{name}Response xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">{inside}</u:{name}Response>"#
    ))
}

fn fault(code: u16, text: &str) -> String {
    envelope(&format!(
        r#"<s:Fault><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode><errorDescription>{text}</errorDescription></UPnPError></detail></s:Fault>"#
    ))
}

fn envelope(body: &str) -> String {
    format!(
        r#"<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{body}</s:Body></s:Envelope>"#
    )
}
