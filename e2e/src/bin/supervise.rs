//! Runs a program for as long as standard input stays open, so that it never outlives whoever holds the other end.
//!
//! `supervise run PROGRAM ARGUMENT...` kills the program when standard input closes; a line on standard input is the
//! name of a signal to send to it. `supervise remove FOLDER` removes the folder when standard input closes.

use std::io::BufRead;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (mode, subject) = (arguments.next(), arguments.next());
    match (mode.as_deref().and_then(|mode| mode.to_str()), subject) {
        (Some("run"), Some(program)) => run(Command::new(program).args(arguments)),
        (Some("remove"), Some(folder)) => {
            lines_until_closed(|_| ());
            // The servers that write there end at this moment too.
            for _ in 0..100 {
                std::thread::sleep(Duration::from_millis(100));
                let _ = std::fs::remove_dir_all(&folder);
                if !Path::new(&folder).exists() {
                    break;
                }
            }
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: supervise run PROGRAM [ARGUMENT...] | supervise remove FOLDER");
            ExitCode::from(2)
        }
    }
}

fn run(command: &mut Command) -> ExitCode {
    let child = match command.stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("supervise: cannot start {}: {error}", command.get_program().to_string_lossy());
            return ExitCode::from(127);
        }
    };
    let id = child.id().to_string();
    let child = Arc::new(Mutex::new(child));
    let watched = Arc::clone(&child);
    std::thread::spawn(move || {
        lines_until_closed(|signal| {
            let sent = Command::new("/bin/sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &id]).status();
            if !sent.is_ok_and(|status| status.success()) {
                eprintln!("supervise: cannot send {signal}");
            }
        });
        if let Ok(mut child) = watched.lock() {
            let _ = child.kill();
        }
    });
    loop {
        let ended = match child.lock() {
            Ok(mut child) => child.try_wait(),
            Err(_) => return ExitCode::FAILURE,
        };
        match ended {
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Ok(Some(status)) => {
                let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
                return ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
            }
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

/// Calls `on_line` for each line of standard input, and returns once it is closed.
fn lines_until_closed(mut on_line: impl FnMut(&str)) {
    for line in std::io::stdin().lock().lines() {
        match line {
            Ok(line) => on_line(line.trim()),
            Err(_) => break,
        }
    }
}
