//go:build linux

package oddfs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What the kernel asks for. Each call takes the lock and is over before the
// next.

// String names the file system.
func (d *Disk) String() string { return "odd" }

// Access lets everybody do everything.
func (d *Disk) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

// StatFs is a disk of 64 GiB with nothing on it.
func (d *Disk) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Blocks: 1 << 24, Bfree: 1 << 24, Bavail: 1 << 24, Files: 1 << 24, Ffree: 1 << 24, Bsize: 4096, NameLen: 255, Frsize: 4096}
	return fuse.OK
}

// Lookup finds a name in a folder.
func (d *Disk) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.nodes[h.NodeId].kids[d.key(name)]
	if !ok {
		return fuse.ENOENT
	}
	return d.entry(e.node, out)
}

// GetAttr is stat.
func (d *Disk) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attr(d.nodes[in.NodeId], &out.Attr)
	return fuse.OK
}

// Statx is stat with a birth time, which a disk that uses numbers again has not.
func (d *Disk) Statx(_ <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	if d.o.Reuse {
		return fuse.ENOSYS
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	var a fuse.Attr
	d.attr(n, &a)
	out.Statx = fuse.Statx{Mask: unix.STATX_BASIC_STATS | unix.STATX_BTIME, Blksize: a.Blksize, Nlink: a.Nlink, Mode: uint16(a.Mode), Ino: a.Ino, Size: a.Size, Blocks: a.Blocks}
	out.Mtime.Sec, out.Mtime.Nsec = a.Mtime, a.Mtimensec
	out.Ctime.Sec, out.Ctime.Nsec = a.Ctime, a.Ctimensec
	out.Atime = out.Mtime
	out.Btime.Sec, out.Btime.Nsec = uint64(n.birth.Unix()), uint32(n.birth.Nanosecond())
	return fuse.OK
}

// SetAttr is chmod, truncate and utimes.
func (d *Disk) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	if mode, ok := in.GetMode(); ok {
		n.mode = n.mode&syscall.S_IFMT | mode
	}
	if size, ok := in.GetSize(); ok {
		n.data = append(n.data[:min(size, uint64(len(n.data)))], make([]byte, max(size, uint64(len(n.data)))-uint64(len(n.data)))...)[:size]
		n.mtime = d.now()
	}
	if t, ok := in.GetMTime(); ok {
		n.mtime = d.coarse(t)
	}
	n.ctime = d.now()
	d.attr(n, &out.Attr)
	return fuse.OK
}

// add makes something new in a folder.
func (d *Disk) add(in uint64, name string, mode uint32, out *fuse.EntryOut) (*node, fuse.Status) {
	name, st := d.fit(name)
	if st != fuse.OK {
		return nil, st
	}
	folder := d.nodes[in]
	if _, taken := folder.kids[d.key(name)]; taken {
		return nil, fuse.Status(syscall.EEXIST)
	}
	n := d.make(mode)
	d.put(folder, name, n)
	return n, d.entry(n, out)
}

// Mknod makes a file, or a pipe.
func (d *Disk) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, st := d.add(in.NodeId, name, in.Mode, out)
	return st
}

// Mkdir makes a folder.
func (d *Disk) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, st := d.add(in.NodeId, name, syscall.S_IFDIR|in.Mode&0o7777, out)
	return st
}

// Symlink makes a link.
func (d *Disk) Symlink(_ <-chan struct{}, h *fuse.InHeader, to, name string, out *fuse.EntryOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, st := d.add(h.NodeId, name, syscall.S_IFLNK|0o777, out)
	if st == fuse.OK {
		n.target, n.safe.target = to, to
	}
	return st
}

// Readlink reads one.
func (d *Disk) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return []byte(d.nodes[h.NodeId].target), fuse.OK
}

// Link gives a file another name.
func (d *Disk) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	name, st := d.fit(name)
	if st != fuse.OK {
		return st
	}
	n, folder := d.nodes[in.Oldnodeid], d.nodes[in.NodeId]
	if _, taken := folder.kids[d.key(name)]; taken {
		return fuse.Status(syscall.EEXIST)
	}
	d.put(folder, name, n)
	n.links++
	n.ctime = d.now()
	return d.entry(n, out)
}

// Unlink takes a name from a file.
func (d *Disk) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return d.remove(h.NodeId, name)
}

// Rmdir removes an empty folder.
func (d *Disk) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return d.remove(h.NodeId, name)
}

func (d *Disk) remove(in uint64, name string) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	folder := d.nodes[in]
	e, ok := folder.kids[d.key(name)]
	switch {
	case !ok:
		return fuse.ENOENT
	case len(e.kids) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	d.take(folder, name)
	d.lose(e.node)
	return fuse.OK
}

// Rename renames; with flags only where the disk knows them.
func (d *Disk) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.o.Plain && in.Flags != 0 {
		return fuse.EINVAL
	}
	to, st := d.fit(to)
	if st != fuse.OK {
		return st
	}
	a, b := d.nodes[in.NodeId], d.nodes[in.Newdir]
	e, ok := a.kids[d.key(from)]
	if !ok {
		return fuse.ENOENT
	}
	old, taken := b.kids[d.key(to)]
	same := taken && old.node == e.node
	switch {
	case in.Flags&unix.RENAME_EXCHANGE != 0:
		if !taken {
			return fuse.ENOENT
		}
		d.put(a, e.name, old.node)
		d.put(b, old.name, e.node)
		old.ctime = d.now()
	case taken && !same && in.Flags&unix.RENAME_NOREPLACE != 0:
		return fuse.Status(syscall.EEXIST)
	case taken && !same && len(old.kids) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	default:
		d.take(a, from)
		d.put(b, to, e.node)
		if taken && !same {
			d.lose(old.node)
		}
	}
	e.ctime = d.now()
	return fuse.OK
}

func (d *Disk) handle(n *node) uint64 {
	d.next++
	d.open[d.next] = &handle{n: n}
	return d.next
}

// Create makes a file and opens it.
func (d *Disk) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, st := d.add(in.NodeId, name, syscall.S_IFREG|in.Mode&0o7777, &out.EntryOut)
	if st == fuse.OK {
		out.Fh, out.OpenFlags = d.handle(n), fuse.FOPEN_DIRECT_IO
	}
	return st
}

// Open opens a file.
func (d *Disk) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	out.Fh, out.OpenFlags = d.handle(d.nodes[in.NodeId]), fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

// Read reads, or fails where Break says so.
func (d *Disk) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	for name, with := range d.broken {
		for _, folder := range d.nodes {
			if e := folder.kids[d.key(name)]; with != 0 && e.node == n && e.name == name {
				return nil, fuse.Status(with)
			}
		}
	}
	from := min(in.Offset, uint64(len(n.data)))
	return fuse.ReadResultData(buf[:copy(buf, n.data[from:])]), fuse.OK
}

// Write writes.
func (d *Disk) Write(_ <-chan struct{}, in *fuse.WriteIn, b []byte) (uint32, fuse.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	if end := in.Offset + uint64(len(b)); end > uint64(len(n.data)) {
		n.data = append(n.data, make([]byte, end-uint64(len(n.data)))...)
	}
	copy(n.data[in.Offset:], b)
	d.changed(n)
	return uint32(len(b)), fuse.OK
}

// Flush is a close, which makes nothing durable.
func (d *Disk) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Release forgets an open file.
func (d *Disk) Release(_ <-chan struct{}, in *fuse.ReleaseIn) { d.ReleaseDir(in) }

// ReleaseDir forgets an open folder.
func (d *Disk) ReleaseDir(in *fuse.ReleaseIn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, in.Fh)
}

// Fsync makes a file's bytes, mode and times durable, not its name.
func (d *Disk) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	n.safe = n.copy()
	d.syncs++
	return fuse.OK
}

// FsyncDir makes the names in a folder durable.
func (d *Disk) FsyncDir(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return d.Fsync(c, in) }

// OpenDir opens a folder; what is listed is what it has now.
func (d *Disk) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	out.Fh = d.handle(n)
	return fuse.OK
}

// ReadDir lists a folder.
func (d *Disk) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.open[in.Fh]
	if in.Offset == 0 { // from the beginning, or once more
		h.list = h.list[:0]
		for _, e := range h.n.kids {
			h.list = append(h.list, fuse.DirEntry{Name: e.name, Mode: e.mode, Ino: e.ino})
		}
	}
	for _, e := range h.list[min(in.Offset, uint64(len(h.list))):] {
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}
