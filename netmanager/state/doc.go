// Package state keeps NetManager's one file: what must survive a restart of
// the process. The file is replaced atomically and synced, so that a reader
// finds the old or the new content and never a part. The caller is netmanager.
package state
