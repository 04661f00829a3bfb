use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::Error;
use crate::error::Tried;
use crate::home::Home;

// Reads until we are gone, however we went; then stops the server and removes a temporary directory that nobody keeps.
const SCRIPT: &str = r#"
cat >/dev/null
kill -INT "$1" 2>/dev/null
n=0
while [ -e "$5" ] && kill -0 "$1" 2>/dev/null && [ $n -lt 300 ]; do sleep 0.1; n=$((n + 1)); done
kill -QUIT "$1" 2>/dev/null
if [ "$2" = temporary ] && [ ! -e "$4" ]; then rm -rf -- "$3"; fi
"#;

/// Outlives us to stop the server when we cannot do it ourselves.
#[derive(Debug)]
pub(crate) struct Guardian(Child);

impl Guardian {
    pub(crate) fn post(home: &Home, server: u32) -> Result<Self, Error> {
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "ordermesh-guardian"])
            .arg(server.to_string())
            .arg(if home.temporary { "temporary" } else { "permanent" })
            .arg(&home.root)
            .arg(home.kept())
            .arg(home.pid_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in the terminal is for us alone.
            .process_group(0)
            .current_dir("/")
            .spawn()
            .tried(|| "start /bin/sh".to_owned())?;
        Ok(Self(child))
    }

    pub(crate) fn dismiss(mut self) {
        let _gone_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}
