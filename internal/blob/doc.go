// Package blob keeps immutable files by path: segments, manifests, day lists. It
// imports the standard library and the root package only.
//
// Store (blob.go) is what the rest of gridloom sees. Dir (dir.go) is a directory
// that survives power loss: Put returns when the file and every directory on its
// way are fsynced. FS (fs.go) is the thin layer of package os below it, shared
// with the edge agent's spool, so that tests can take the power away with package
// faultfs.
package blob
