//! AWS credentials by every way of the standard chain, each against a server on loopback; expired ones are replaced, and no
//! batch is lost by that.

use outputs::fakes::http::{Answer, Request, Server};
use outputs::fakes::{Act, CloudwatchFake};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// Lines to deliver.
const LINES: usize = 100;

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What hands out credentials: STS, a container's agent, the instance's metadata. Each time it is another key.
struct Issuer {
    server: Server,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Issuer {
    async fn start() -> Issuer {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remember = asked.clone();
        let server = Server::start(
            None,
            Arc::new(move |request: Request| {
                let mut asked = remember.lock().unwrap();
                let issued = asked.iter().filter(|seen: &&Request| issues(seen)).count();
                let body = answer(&request, issued);
                asked.push(request);
                let status = if body.is_empty() { 404 } else { 200 };
                let headers = vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned())];
                Box::pin(
                    async move { Answer { status, headers, body: body.into_bytes(), ..Answer::default() } },
                )
            }),
        );
        Issuer { server: server.await.unwrap(), asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    /// The requests for a path that begins so.
    fn asked(&self, path: &str) -> Vec<Request> {
        self.asked.lock().unwrap().iter().filter(|r| r.path.starts_with(path)).cloned().collect()
    }
}

/// Whether the answer to a request holds a key.
fn issues(request: &Request) -> bool {
    matches!(request.path.as_str(), "/" | "/container" | "/latest/meta-data/iam/security-credentials/node")
}

fn answer(request: &Request, issued: usize) -> String {
    let json = |extra: &str| {
        format!(
            "{{{extra}\"AccessKeyId\":\"ASIA{issued}\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\
             \"Expiration\":\"2099-01-01T00:00:00Z\"}}"
        )
    };
    match request.path.as_str() {
        "/container" => json(""),
        "/latest/api/token" => "imds-token".to_owned(),
        "/latest/meta-data/iam/security-credentials/" | "/latest/meta-data/iam/security-credentials" => {
            "node".to_owned()
        }
        "/latest/meta-data/iam/security-credentials/node" => {
            json("\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"LastUpdated\":\"2020-01-01T00:00:00Z\",")
        }
        "/" => {
            let form = String::from_utf8_lossy(&request.body).into_owned();
            let action = if form.contains("AssumeRoleWithWebIdentity") {
                "AssumeRoleWithWebIdentity"
            } else {
                "AssumeRole"
            };
            format!(
                "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
                 <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/x</Arn><AssumedRoleId>A:x</AssumedRoleId>\
                 </AssumedRoleUser><Credentials><AccessKeyId>ASIA{issued}</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></{action}Result></{action}Response>"
            )
        }
        _ => String::new(),
    }
}

/// Starts the program with nothing in its environment but this.
fn start(folder: &Path, port: u16, options: &str, environment: &[(&str, &str)]) -> Running {
    let lines: String = (0..LINES).map(|n| format!("line {n}\n")).collect();
    std::fs::write(folder.join("a.log"), lines).unwrap();
    let conf = format!(
        "[SERVICE]\n flush 0.1\n grace 5\n scheduler.base 1\n scheduler.cap 1\n\
         [INPUT]\n name tail\n path a.log\n tag t\n read_from_head on\n\
         [OUTPUT]\n name cloudwatch_logs\n match *\n region us-west-2\n endpoint 127.0.0.1\n port {port}\n tls off\n \
         log_group_name g\n log_stream_name s\n log_key log\n auto_create_group on\n{options}"
    );
    std::fs::write(folder.join("x.conf"), conf).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripsaw"));
    command.args(["-c", "x.conf"]).current_dir(folder).env_clear().env("HOME", folder);
    command.env("AWS_EC2_METADATA_DISABLED", "true").envs(environment.iter().copied());
    command.stdout(Stdio::null()).stderr(std::fs::File::create(folder.join("stderr")).unwrap());
    Running(command.spawn().unwrap())
}

/// Waits until all lines arrived once, in order; the access keys of the requests that brought them, in order.
async fn keys(fake: &CloudwatchFake, folder: &Path) -> Vec<String> {
    let begun = Instant::now();
    while fake.distinct() < LINES {
        let log = || std::fs::read_to_string(folder.join("stderr")).unwrap_or_default();
        assert!(begun.elapsed() < PATIENCE, "{} of {LINES} arrived\n{}", fake.distinct(), log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let arrived: Vec<String> = fake.events("g", "s").into_iter().map(|(_, message)| message).collect();
    assert!(arrived.iter().enumerate().all(|(n, message)| *message == format!("line {n}")), "{arrived:?}");
    let key = |headers: &[(String, String)]| {
        let value = &headers.iter().find(|(name, _)| name == "authorization").unwrap().1;
        value.split_once("Credential=").unwrap().1.split('/').next().unwrap().to_owned()
    };
    let mut keys: Vec<String> = fake.seen().iter().map(|seen| key(&seen.headers)).collect();
    keys.dedup();
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_the_chain_leads_to_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let profiles = "[default]\naws_access_key_id=AKIADEFAULT\naws_secret_access_key=s\n\
                    [logs]\naws_access_key_id=AKIALOGS\naws_secret_access_key=s\n";
    std::fs::write(path("profiles"), profiles).unwrap();
    std::fs::write(path("token"), "the token").unwrap();
    let (file, token) = (path("profiles"), path("token"));
    let issuer = Issuer::start().await;
    let (sts, container, imds) = (issuer.url(""), issuer.url("/container"), issuer.url(""));
    let role = format!(" role_arn arn:aws:iam::1:role/r\n external_id ext\n sts_endpoint {sts}\n");
    let own = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let of_file = [("AWS_SHARED_CREDENTIALS_FILE", file.as_str())];
    let web = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web"),
        ("AWS_ENDPOINT_URL_STS", sts.as_str()),
    ];
    let pod = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.as_str()),
    ];
    let ecs = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret word"),
    ];
    let node = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.as_str())];
    let mut issued = 0;
    for (what, options, environment, key) in [
        ("environment", "", &own[..], "AKIAENV"),
        ("default profile", "", &of_file, "AKIADEFAULT"),
        ("profile", " profile logs\n", &of_file, "AKIALOGS"),
        ("web identity", "", &web, "ASIA"),
        ("pod identity", "", &pod, "ASIA"),
        ("ECS", "", &ecs, "ASIA"),
        ("IMDSv2", "", &node, "ASIA"),
        ("a role", &role, &own, "ASIA"),
    ] {
        let fake = CloudwatchFake::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let _running = start(folder.path(), fake.port(), options, environment);
        let expected = match key {
            "ASIA" => {
                issued += 1;
                format!("ASIA{}", issued - 1)
            }
            fixed => fixed.to_owned(),
        };
        assert_eq!(keys(&fake, folder.path()).await, [expected], "{what}");
        assert_eq!(fake.flaws(), Vec::<String>::new());
    }
    let container: Vec<String> =
        issuer.asked("/container").iter().map(|r| r.header("authorization").to_owned()).collect();
    assert_eq!(container, ["the token", "secret word"]);
    let metadata = issuer.asked("/latest/meta-data");
    assert!(metadata.iter().all(|r| r.header("x-aws-ec2-metadata-token") == "imds-token"), "IMDSv2 only");
    let sts: Vec<String> = issuer
        .asked("/")
        .iter()
        .filter(|r| r.path == "/")
        .map(|r| String::from_utf8_lossy(&r.body).into_owned())
        .collect();
    assert!(sts[0].contains("WebIdentityToken=the%20token") && sts[0].contains("role%2Fweb"), "{}", sts[0]);
    assert!(sts[1].contains("ExternalId=ext") && sts[1].contains("role%2Fr"), "{}", sts[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials_are_replaced_and_no_batch_is_lost() {
    let (issuer, fake) = (Issuer::start().await, CloudwatchFake::start().await.unwrap());
    let expired = "The security token included in the request is expired";
    fake.script("PutLogEvents", [Act::Error(400, "ExpiredTokenException", expired)]);
    let folder = tempfile::tempdir().unwrap();
    let container = issuer.url("/container");
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str())];
    let _running = start(folder.path(), fake.port(), "", &environment);
    assert_eq!(keys(&fake, folder.path()).await, ["ASIA0", "ASIA1"]);
    assert_eq!(fake.flaws(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_be_assumed_is_told() {
    let refusal = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User me is not authorized \
                   to perform: sts:AssumeRole</Message></Error><RequestId>1</RequestId></ErrorResponse>";
    let sts = Server::start(
        None,
        Arc::new(move |_| {
            Box::pin(
                async move { Answer { status: 403, body: refusal.as_bytes().to_vec(), ..Answer::default() } },
            )
        }),
    );
    let (sts, fake) = (sts.await.unwrap(), CloudwatchFake::start().await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let role = format!(" role_arn arn:aws:iam::1:role/r\n sts_endpoint http://{}\n", sts.address);
    let own = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let _running = start(folder.path(), fake.port(), &role, &own);
    let told = || std::fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
    let begun = Instant::now();
    while !told().contains("probe") {
        assert!(begun.elapsed() < PATIENCE, "{}", told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let want = "AccessDenied: User me is not authorized to perform: sts:AssumeRole (check the role's ARN";
    assert!(told().contains(want) && !told().contains("ErrorMetadata"), "{}", told());
    assert_eq!(fake.distinct(), 0);
}
