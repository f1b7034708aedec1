//! The protocol of Kubernetes for the streams of a command, over a WebSocket: the first byte of a message is its channel.

/// The name by which client and server agree on it.
pub const PROTOCOL: &str = "v5.channel.k8s.io";
/// Input of the command.
pub const STDIN: u8 = 0;
/// Output of the command.
pub const STDOUT: u8 = 1;
/// Error output of the command.
pub const STDERR: u8 = 2;
/// How the command ended, as a `Status` in JSON.
pub const STATUS: u8 = 3;
/// The size of the client's terminal, in JSON.
pub const RESIZE: u8 = 4;
/// The channel that the second byte names has ended.
pub const CLOSE: u8 = 255;
