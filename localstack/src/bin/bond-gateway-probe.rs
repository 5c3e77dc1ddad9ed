//! A function that does what its event says, for the simulator's own tests. It is written on AWS's runtime, so that the simulator's Runtime
//! API is checked against its real client.
//!
//! What to do is the event itself, or the JSON in its `body`, or its query parameters.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Map, Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::args().nth(1).as_deref() == Some("exit-at-once") {
        std::process::exit(7);
    }
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, context) = event.into_parts();
    println!("event {event}");
    let order = order(&event);
    if let Some(ms) = number(&order["sleep_ms"]) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    match order["do"].as_str().unwrap_or("reply") {
        "fail" => Err("told to fail".into()),
        "exit" => std::process::exit(3),
        "big" => Ok("x".repeat(usize::try_from(number(&order["bytes"]).unwrap_or(0))?).into()),
        "malformed" => Ok(json!({"nothing": "of a response"})),
        "environment" => Ok(environment()),
        "context" => Ok(
            json!({"deadline": context.deadline, "id": context.request_id, "arn": context.invoked_function_arn}),
        ),
        "post" => post_often(&order, &event),
        _ => Ok(reply(&order, &event)),
    }
}

fn order(event: &Value) -> Value {
    let body = event["body"].as_str().and_then(|body| serde_json::from_str(body).ok());
    let query = event.get("queryStringParameters").cloned();
    body.or(query).unwrap_or_else(|| event.clone())
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A proxy integration's response whose body is the event.
fn reply(order: &Value, event: &Value) -> Value {
    let status = number(&order["status"]).unwrap_or(200);
    let headers = order.get("protocol").map(|protocol| json!({"Sec-WebSocket-Protocol": protocol}));
    json!({"statusCode": status, "headers": headers, "body": event.to_string()})
}

fn environment() -> Value {
    std::env::vars().map(|(name, value)| (name, Value::from(value))).collect::<Map<_, _>>().into()
}

/// Posts numbers to a connection, one after the other, and answers with their statuses.
fn post_often(order: &Value, event: &Value) -> Result<Value, Error> {
    let own = event["requestContext"]["connectionId"].as_str();
    let connection = order["connection"].as_str().or(own).ok_or("no connection")?;
    let times = number(&order["times"]).unwrap_or(1);
    let statuses =
        (1..=times).map(|number| post(connection, &number.to_string())).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"statusCode": 200, "body": json!(statuses).to_string(), "statuses": statuses}))
}

fn post(connection: &str, message: &str) -> Result<u16, Error> {
    let setting =
        |name: &str| std::env::vars().find(|(key, _)| key == name).map(|(_, value)| value).ok_or("not set");
    let (host, key) = (setting("GATEWAY")?.replace("http://", ""), setting("AWS_ACCESS_KEY_ID")?);
    let mut stream = TcpStream::connect(&host)?;
    write!(
        stream,
        "POST /v1/@connections/{} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\nX-Amz-Date: 20261121T120000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={key}/20261121/us-east-1/execute-api/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature={}\r\nConnection: close\r\n\r\n{message}",
        connection.replace('=', "%3D"),
        message.len(),
        "0".repeat(64)
    )?;
    let mut answer = BufReader::new(stream);
    let mut status = String::new();
    answer.read_line(&mut status)?;
    answer.read_to_end(&mut Vec::new())?;
    Ok(status.split(' ').nth(1).unwrap_or("").parse()?)
}
