//go:build linux

// Package oddfs is a disk for tests, in memory and mounted over FUSE, that does
// what disks of other systems and cheap ones do: takes names for one that differ
// in case, spells them decomposed, counts time in steps of two seconds, gives
// the number of a file that is gone to the next one, refuses the names that
// Windows refuses, knows no modern renames, and forgets at a power cut what was
// not synced.
//
// It promises the last exactly: after Cut a file has the bytes of its last
// fsync, a folder the names of its. It does not promise speed, permissions or
// shared memory maps. No page of spec: nothing here is on the wire.
package oddfs

import (
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/text/unicode/norm"
)

// Options say in what a disk is odd.
type Options struct {
	Fold      bool          // Readme and README are one name
	Decompose bool          // a name is kept decomposed, and found by either form
	Reserved  bool          // no <>:"\|?*, no control character, no dot or space at the end, no CON
	Tick      time.Duration // times are multiples of it
	Reuse     bool          // a file that is gone leaves its number to the next; no birth time
	Plain     bool          // rename knows no flags
}

// A Disk is one that is mounted.
type Disk struct {
	fuse.RawFileSystem
	o      Options
	server *fuse.Server

	mu     sync.Mutex
	nodes  map[uint64]*node
	open   map[uint64]*handle
	next   uint64 // of nodes, handles and numbers alike
	free   []uint64
	syncs  int
	broken map[string]syscall.Errno
}

// A handle is a folder being listed, or a file that is open.
type handle struct {
	n    *node
	list []fuse.DirEntry
}

// A node is a file, folder, link or pipe; safe is what a power cut leaves.
type node struct {
	id, ino uint64
	birth   time.Time
	image
	safe image
}

// An image is what a sync makes durable.
type image struct {
	mode         uint32
	links        uint32
	data         []byte
	target       string
	kids         map[string]entry
	mtime, ctime time.Time
}

type entry struct {
	name string
	*node
}

// Mount mounts an empty disk at dir, which needs root. Close ends it.
func Mount(dir string, o Options) (*Disk, error) {
	d := &Disk{RawFileSystem: fuse.NewDefaultRawFileSystem(), o: o, nodes: map[uint64]*node{}, open: map[uint64]*handle{},
		next: fuse.FUSE_ROOT_ID, broken: map[string]syscall.Errno{}}
	root := d.make(syscall.S_IFDIR | 0o755)
	root.links = 2
	root.safe = root.copy()
	s, err := fuse.NewServer(d, dir, &fuse.MountOptions{DirectMountStrict: true, AllowOther: true, DisableXAttrs: true,
		DisableReadDirPlus: true, FsName: "odd", Name: "odd"})
	if err != nil {
		return nil, err
	}
	d.server = s
	go s.Serve()
	return d, s.WaitMount()
}

// Close unmounts the disk; what it holds is gone.
func (d *Disk) Close() error { return d.server.Unmount() }

// Cut is a power cut: what was not synced is gone, names as well as bytes.
// With names, names come through and bytes do not, as on disks that keep a
// journal of names alone: a file that was not synced is there, and empty. Who
// has something open has it open no more; nobody should.
func (d *Disk) Cut(names bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.nodes {
		kids, mode := n.kids, n.mode
		n.image = n.safe.clone()
		if names {
			n.kids = kids
		}
		n.mode |= mode & syscall.S_IFMT
	}
	for _, n := range d.nodes {
		n.safe = n.copy()
	}
}

// Sync makes everything durable.
func (d *Disk) Sync() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.nodes {
		n.safe = n.copy()
	}
}

// Syncs is how many files and folders were synced.
func (d *Disk) Syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

// Freeze has the disk answer nothing, until the function that it returns is called.
func (d *Disk) Freeze() (thaw func()) {
	d.mu.Lock()
	return d.mu.Unlock
}

// Renumber gives everything but the root, and what is in it, another number, as
// disks do that make numbers up when they are mounted.
func (d *Disk) Renumber() {
	d.mu.Lock()
	defer d.mu.Unlock()
	top := map[*node]bool{d.nodes[fuse.FUSE_ROOT_ID]: true}
	for _, e := range d.nodes[fuse.FUSE_ROOT_ID].kids {
		top[e.node] = true
	}
	for _, n := range d.nodes {
		if !top[n] {
			n.ino += 1 << 32
		}
	}
}

// Break makes reading a file fail, by its last name; 0 mends it.
func (d *Disk) Break(name string, with syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken[name] = with
}

// Alter changes bytes of a file behind everybody's back: no time and no event
// tells.
func (d *Disk) Alter(name string, to []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.nodes {
		for _, e := range n.kids {
			if e.name == name && e.links > 0 {
				e.data = append([]byte(nil), to...)
				return true
			}
		}
	}
	return false
}

func (i image) clone() image {
	i.data = append([]byte(nil), i.data...)
	if i.kids != nil {
		kids := make(map[string]entry, len(i.kids))
		for k, e := range i.kids {
			kids[k] = e
		}
		i.kids = kids
	}
	return i
}

func (n *node) copy() image { return n.image.clone() }

// make makes a node that has no name yet. With the lock held.
func (d *Disk) make(mode uint32) *node {
	n := &node{id: d.next, ino: d.next}
	d.next++
	if last := len(d.free) - 1; d.o.Reuse && last >= 0 {
		n.ino, d.free = d.free[last], d.free[:last]
	}
	n.mode, n.links = mode, 1
	n.mtime = d.now()
	n.ctime, n.birth = n.mtime, n.mtime
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		n.kids, n.links = map[string]entry{}, 2
	}
	n.safe = image{mode: n.mode, links: n.links, mtime: n.mtime, ctime: n.ctime}
	if n.kids != nil {
		n.safe.kids = map[string]entry{}
	}
	d.nodes[n.id] = n
	return n
}

func (d *Disk) now() time.Time { return d.coarse(time.Now()) }

// coarse rounds down, before 1970 as well as after.
func (d *Disk) coarse(t time.Time) time.Time {
	if d.o.Tick == 0 {
		return t
	}
	tick, ns := int64(d.o.Tick), t.UnixNano()
	return time.Unix(0, ns-((ns%tick)+tick)%tick)
}

// key is the same for names that the disk takes for one.
func (d *Disk) key(name string) string {
	if d.o.Decompose {
		name = norm.NFD.String(name)
	}
	if d.o.Fold {
		name = strings.Map(first, name)
	}
	return name
}

// first is the first of all letters that are r but for their case.
func first(r rune) rune {
	least := r
	for x := unicode.SimpleFold(r); x != r; x = unicode.SimpleFold(x) {
		least = min(least, x)
	}
	return least
}

// fit is the name as the disk spells it, or why it cannot.
func (d *Disk) fit(name string) (string, fuse.Status) {
	if d.o.Reserved {
		stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
		if strings.ContainsAny(name, `<>:"\|?*`) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) ||
			strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || stem == "CON" || stem == "NUL" || stem == "AUX" {
			return "", fuse.EINVAL
		}
	}
	if d.o.Decompose {
		name = norm.NFD.String(name)
	}
	if len(name) > 255 {
		return "", fuse.Status(syscall.ENAMETOOLONG)
	}
	return name, fuse.OK
}

// put gives a node a name in a folder.
func (d *Disk) put(in *node, name string, n *node) {
	in.kids[d.key(name)] = entry{name, n}
	d.changed(in)
}

// take takes a name out of a folder.
func (d *Disk) take(in *node, name string) {
	delete(in.kids, d.key(name))
	d.changed(in)
}

func (d *Disk) changed(n *node) { n.mtime = d.now(); n.ctime = n.mtime }

// lose is for a node that lost a name.
func (d *Disk) lose(n *node) {
	n.ctime = d.now()
	if n.links--; n.links == 0 || n.kids != nil {
		n.links = 0
		d.free = append(d.free, n.ino)
	}
}

func (d *Disk) attr(n *node, a *fuse.Attr) {
	*a = fuse.Attr{Ino: n.ino, Mode: n.mode, Nlink: n.links, Size: uint64(len(n.data)), Blocks: uint64(len(n.data)+511) / 512, Blksize: 4096}
	if n.mode&syscall.S_IFMT == syscall.S_IFLNK {
		a.Size = uint64(len(n.target))
	}
	a.Mtime, a.Mtimensec = uint64(n.mtime.Unix()), uint32(n.mtime.Nanosecond())
	a.Ctime, a.Ctimensec = uint64(n.ctime.Unix()), uint32(n.ctime.Nanosecond())
	a.Atime, a.Atimensec = a.Mtime, a.Mtimensec
}

// entry answers with a node. Nothing is remembered by the kernel: each look is
// one at the disk.
func (d *Disk) entry(n *node, out *fuse.EntryOut) fuse.Status {
	out.NodeId, out.Generation = n.id, 1
	d.attr(n, &out.Attr)
	return fuse.OK
}
