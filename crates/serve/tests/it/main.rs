//! The stack, the mesh and the server, from outside: what a caller sees and what a handler gets.

mod calls;
mod deadlines;
mod gate;
mod house;
mod server;
mod tokens;
