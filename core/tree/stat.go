package tree

// A Type is what a node is, or what a name on a disk is.
type Type uint8

// The types. Nodes are files, folders and links; Other is what a disk can hold
// and Signet does not sync: FIFOs, sockets, device nodes, and whatever another
// mount covers.
const (
	File  Type = 1
	Dir   Type = 2
	Link  Type = 3
	Other Type = 4
)

// String is "file", "dir", "link" or "other".
func (t Type) String() string {
	switch t {
	case File:
		return "file"
	case Dir:
		return "dir"
	case Link:
		return "link"
	}
	return "other"
}

// A Stat is a local signature: what a file system says of one name. Equal
// Stats of a file outside its racy window mean equal bytes; everything else
// means "look again". Times are nanoseconds since 1970 and may be negative.
type Stat struct {
	Type   Type
	Mode   uint32 // permission bits, 07777
	Size   int64  // bytes; 0 for folders
	MTime  int64
	CTime  int64
	Birth  int64 // 0 where the file system does not tell
	Dev    uint64
	Inode  uint64
	Links  uint32 // hard links; compared by nobody, reported where above 1
	Target string // of a Link
}
