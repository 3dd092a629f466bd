package region

import "signet/core/journal"

// SetDirectory makes r use another replay of the same directory.
func (r *Region) SetDirectory(dir journal.Directory) { r.dir = dir; r.State.SetDirectory(dir) }
