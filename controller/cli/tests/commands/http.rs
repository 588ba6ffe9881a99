//! `run` against a repository behind HTTP: git's own server program, with and without a password.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Repository, RepositoryInitOptions, Signature, Time};

/// `user:to/ken`
const AUTHORIZATION: &str = "Basic dXNlcjp0by9rZW4=";
const LARGE: usize = 3 << 20;

fn document(version: u32) -> String {
    format!(
        "schemaType: Installation\nschemaVersion: 1.0.2\nname: mysql\nnamespace: dev\nbundle:\n  repository: \
         example.org/mysql\n  version: 1.0.{version}\n"
    )
}

fn commit(repository: &Repository, version: u32) {
    let parent = repository.head().ok().map(|head| head.peel_to_commit().unwrap());
    let empty = repository.find_tree(repository.treebuilder(None).unwrap().write().unwrap()).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let large: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(LARGE).collect();
    let mut update = TreeUpdateBuilder::new();
    update.upsert("apps/mysql.yaml", repository.blob(document(version).as_bytes()).unwrap(), FileMode::Blob);
    update.upsert("apps/link.yaml", repository.blob(b"/etc/passwd").unwrap(), FileMode::Link);
    update.upsert("large.bin", repository.blob(&large).unwrap(), FileMode::Blob);
    let tree = repository.find_tree(update.create_updated(repository, &empty).unwrap()).unwrap();
    let author = Signature::new("test", "test@example.org", &Time::new(1_767_225_600, 0)).unwrap();
    let parents: Vec<_> = parent.iter().collect();
    repository.commit(Some("HEAD"), &author, &author, "a change", &tree, &parents).unwrap();
}

/// Answers requests by git's CGI program until the process ends; gives the port.
fn serve(root: &Path, password: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let root = root.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // One request a connection; a client that went is no fault of the server.
            let _ = answer(stream, &root, password);
        }
    });
    port
}

fn answer(mut stream: TcpStream, root: &Path, password: bool) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut first = line.split_whitespace().map(str::to_owned);
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let (mut length, mut content_type, mut authorized) = (0, String::new(), !password);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" => content_type = value.to_owned(),
            "authorization" => authorized |= value == AUTHORIZATION,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if !authorized {
        return stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut git = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", content_type)
        .env("CONTENT_LENGTH", length.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    git.stdin.take().unwrap().write_all(&body)?;
    let output = git.wait_with_output()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&output[..end]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\n")?;
    stream.write_all(&output)
}

#[test]
fn a_repository_behind_http_is_followed() {
    if Command::new("git").arg("http-backend").env("REQUEST_METHOD", "GET").output().is_err() {
        eprintln!("SKIPPED: there is no git program to serve the repository");
        return;
    }
    for password in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("trunk").external_template(false);
        let repository = Repository::init_opts(place.path().join("fleet.git"), &options).unwrap();
        let port = serve(place.path(), password);
        let to = place.path().join("out");
        let run = |credentials: &str, branch: Option<&str>| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_flux-porter"));
            command.args(["run", "--once", "--path", "apps", "--repo"]);
            command.arg(format!("http://{credentials}127.0.0.1:{port}/fleet.git"));
            command.arg("--to").arg(&to).env_remove("http_proxy").env("NO_PROXY", "127.0.0.1");
            branch.iter().for_each(|branch| {
                command.args(["--branch", branch]);
            });
            let output = command.output().unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (output.status.success(), text(output.stdout), text(output.stderr))
        };
        let credentials = if password { "user:to%2Fken@" } else { "" };

        let (done, _, log) = run(credentials, None);
        assert!(!done && log.contains("no commit"), "{log}");
        commit(&repository, 1);
        if password {
            let (done, told, log) = run("user:wrong-word@", None);
            assert!(!done && told.is_empty() && log.contains("401"), "{log}");
            assert!(!log.contains("wrong-word"), "{log}");
        }
        let (done, told, log) = run(credentials, None);
        assert_eq!((done, told.as_str()), (true, "install mysql 1.0.1\n"), "{log}");
        assert!(log.starts_with("revision trunk@sha1:"), "{log}");
        assert!(!log.contains("ken"), "{log}");
        assert_eq!(run(credentials, None).1, "unchanged mysql\n");
        commit(&repository, 2);
        assert_eq!(run(credentials, Some("trunk")).1, "upgrade mysql 1.0.2\n");
        let (done, _, log) = run(credentials, Some("gone"));
        assert!(!done && log.contains("no branch gone"), "{log}");
        assert!(fs::read_to_string(to.join("default/mysql.yaml")).unwrap().contains("1.0.2"));
    }
}
