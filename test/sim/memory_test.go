package sim

import (
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// SQLite reads and writes its files through a table of functions, its VFS. The one
// here keeps them in this process: a run makes some 40,000 calls of the system
// otherwise, which is a fifth of its time. What a crash leaves is a copy of
// these files at an instant, as it was of files that the system keeps; what SQLite
// makes of a power cut is not for this package to test.
//
// Nothing sleeps or blocks here, and no call lets another goroutine run, but for one
// that waits for a lock: which of them goes on is not chance any more.

// memory has the files, by their whole path, and who has them open.
var memory = struct {
	sync.Mutex
	files map[string]*memFile
	open  map[*memHandle]bool // SQLite alone points at them
}{files: map[string]*memFile{}, open: map[*memHandle]bool{}}

// blockSize is in which parts files are copied: when one of those that have a block
// in common writes it.
const blockSize = 32 << 10

type memBlock struct {
	files int // that have it in common; it is written while that is one
	b     [blockSize]byte
}

// memSpare are blocks that no file has any more: a run takes those of the last one.
var memSpare []*memBlock

// spareBlock is a block of one file, with anything in it.
func spareBlock() *memBlock {
	x := &memBlock{}
	if n := len(memSpare); n > 0 {
		x, memSpare = memSpare[n-1], memSpare[:n-1]
	}
	x.files = 1
	return x
}

func zeroBlock() *memBlock {
	x := spareBlock()
	clear(x.b[:])
	return x
}

func (x *memBlock) release() {
	if x.files--; x.files == 0 {
		memSpare = append(memSpare, x)
	}
}

type memFile struct {
	blocks []*memBlock
	size   int64
	users  []*memHandle
	shm    []uintptr // regions of the index of a write-ahead log, which SQLite reads without locks
	held   [sqlite3.SQLITE_SHM_NLOCK]int
}

// A memHandle is a file that SQLite has open.
type memHandle struct {
	f      *memFile
	gone   string // the name that goes when it is closed
	level  int32  // of its lock
	shared uint32 // locks of the index, as bits
	sole   uint32
}

// memOpen is what SQLite has for an open file.
type memOpen struct {
	methods uintptr
	handle  uintptr
}

// memMethods and memVFS are what SQLite is told, in the words of its translation to Go.
var (
	memMethods sqlite3.Tsqlite3_io_methods
	memVFS     sqlite3.Tsqlite3_vfs
	memName    = [...]byte{'m', 'e', 'm', 'o', 'r', 'y', 0}
)

// entry is what SQLite calls a function by. It captures nothing.
func entry[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

// SQLite has room for so many pages, with what it notes of each; more it asks for.
const (
	pages    = 4096
	pageRoom = 4096 + 512
)

// keepInMemory has SQLite keep all files in this process from now on.
func keepInMemory() error {
	memMethods = sqlite3.Tsqlite3_io_methods{
		FiVersion: 2,
		FxClose:   entry(memClose), FxRead: entry(memRead), FxWrite: entry(memWrite), FxTruncate: entry(memTruncate),
		FxSync: entry(memSync), FxFileSize: entry(memSize), FxFileControl: entry(memControl),
		FxLock: entry(memLock), FxUnlock: entry(memUnlock), FxCheckReservedLock: entry(memReserved),
		FxSectorSize: entry(memSector), FxDeviceCharacteristics: entry(memTraits),
		FxShmMap: entry(memShmMap), FxShmLock: entry(memShmLock), FxShmBarrier: entry(memBarrier), FxShmUnmap: entry(memShmUnmap),
	}
	memVFS = sqlite3.Tsqlite3_vfs{
		FiVersion: 2, FszOsFile: int32(unsafe.Sizeof(memOpen{})), FmxPathname: 1024, FzName: uintptr(unsafe.Pointer(&memName[0])),
		FxOpen: entry(memOpenFile), FxDelete: entry(memDelete), FxAccess: entry(memAccess), FxFullPathname: entry(memFullName),
		FxRandomness: entry(memRandom), FxSleep: entry(memSleep), FxGetLastError: entry(memError), FxCurrentTimeInt64: entry(memTime),
	}
	tls := libc.NewTLS()
	defer tls.Close()
	// A connection is one goroutine's at a time, nobody asks how much memory is in use,
	// and pages lie in one piece of memory, which is not given back and asked for
	// again with every program that ends and begins.
	for _, c := range [][]any{
		{int32(sqlite3.SQLITE_CONFIG_MULTITHREAD)},
		{int32(sqlite3.SQLITE_CONFIG_MEMSTATUS), int32(0)},
		{int32(sqlite3.SQLITE_CONFIG_PAGECACHE), libc.Xmalloc(tls, pages*pageRoom), int32(pageRoom), int32(pages)},
	} {
		args := libc.NewVaList(c[1:]...)
		if rc := sqlite3.Xsqlite3_config(tls, c[0].(int32), args); rc != sqlite3.SQLITE_OK {
			return fmt.Errorf("configure SQLite: %d", rc)
		}
		libc.Xfree(tls, args)
	}
	if rc := sqlite3.Xsqlite3_vfs_register(tls, uintptr(unsafe.Pointer(&memVFS)), 1); rc != sqlite3.SQLITE_OK {
		return fmt.Errorf("register a VFS: %d", rc)
	}
	return nil
}

// at is what an address of SQLite points at. Nothing that it has moves.
func at(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func handleAt(p uintptr) *memHandle { return (*memHandle)(at((*memOpen)(at(p)).handle)) }

func memOpenFile(tls *libc.TLS, _, name, file uintptr, flags int32, out uintptr) int32 {
	memory.Lock()
	defer memory.Unlock()
	h := &memHandle{}
	if name == 0 { // for SQLite alone
		h.f = &memFile{}
	} else {
		path := libc.GoString(name)
		if h.f = memory.files[path]; h.f == nil {
			if flags&sqlite3.SQLITE_OPEN_CREATE == 0 {
				return sqlite3.SQLITE_CANTOPEN
			}
			h.f = &memFile{}
			memory.files[path] = h.f
		}
		if flags&sqlite3.SQLITE_OPEN_DELETEONCLOSE != 0 {
			h.gone = path
		}
	}
	h.f.users = append(h.f.users, h)
	memory.open[h] = true
	*(*memOpen)(at(file)) = memOpen{uintptr(unsafe.Pointer(&memMethods)), uintptr(unsafe.Pointer(h))}
	if out != 0 {
		*(*int32)(at(out)) = flags
	}
	return sqlite3.SQLITE_OK
}

func memClose(tls *libc.TLS, file uintptr) int32 {
	memory.Lock()
	defer memory.Unlock()
	h := handleAt(file)
	h.unlockIndex(h.shared | h.sole)
	h.f.users = slices.DeleteFunc(h.f.users, func(u *memHandle) bool { return u == h })
	if len(h.f.users) == 0 {
		h.f.forgetIndex(tls)
	}
	if h.gone != "" {
		delete(memory.files, h.gone)
	}
	delete(memory.open, h)
	return sqlite3.SQLITE_OK
}

func memRead(_ *libc.TLS, file, to uintptr, n int32, off int64) int32 {
	memory.Lock()
	defer memory.Unlock()
	f, b := handleAt(file).f, unsafe.Slice((*byte)(at(to)), n)
	got := f.read(b, off)
	if got == len(b) {
		return sqlite3.SQLITE_OK
	}
	clear(b[got:])
	return sqlite3.SQLITE_IOERR_SHORT_READ
}

func (f *memFile) read(b []byte, off int64) (n int) {
	for n < len(b) && off < f.size {
		from := f.blocks[off/blockSize].b[off%blockSize:]
		from = from[:min(int64(len(from)), f.size-off)]
		k := copy(b[n:], from)
		n, off = n+k, off+int64(k)
	}
	return n
}

func memWrite(_ *libc.TLS, file, from uintptr, n int32, off int64) int32 {
	memory.Lock()
	defer memory.Unlock()
	handleAt(file).f.write(unsafe.Slice((*byte)(at(from)), n), off)
	return sqlite3.SQLITE_OK
}

func (f *memFile) write(b []byte, off int64) {
	for len(b) > 0 {
		n := int(off / blockSize)
		for n >= len(f.blocks) {
			f.blocks = append(f.blocks, zeroBlock())
		}
		if x := f.blocks[n]; x.files > 1 {
			x.files--
			f.blocks[n] = spareBlock()
			f.blocks[n].b = x.b
		}
		k := copy(f.blocks[n].b[off%blockSize:], b)
		b, off = b[k:], off+int64(k)
		f.size = max(f.size, off)
	}
}

func memTruncate(_ *libc.TLS, file uintptr, size int64) int32 {
	memory.Lock()
	defer memory.Unlock()
	handleAt(file).f.truncate(size)
	return sqlite3.SQLITE_OK
}

// truncate leaves nothing but zeros behind the end, for when the file grows again.
func (f *memFile) truncate(size int64) {
	if n := int((size + blockSize - 1) / blockSize); n < len(f.blocks) {
		for _, x := range f.blocks[n:] {
			x.release()
		}
		f.blocks = f.blocks[:n]
	}
	if end := min(f.size, int64(len(f.blocks))*blockSize); size < end {
		f.write(make([]byte, end-size), size)
	}
	for int64(len(f.blocks))*blockSize < size {
		f.blocks = append(f.blocks, zeroBlock())
	}
	f.size = size
}

// copy shares all blocks with f until one of the two writes them.
func (f *memFile) copy() *memFile {
	for _, x := range f.blocks {
		x.files++
	}
	return &memFile{blocks: slices.Clone(f.blocks), size: f.size}
}

func memSync(*libc.TLS, uintptr, int32) int32 { return sqlite3.SQLITE_OK }

func memControl(*libc.TLS, uintptr, int32, uintptr) int32 { return sqlite3.SQLITE_NOTFOUND }

func memBarrier(*libc.TLS, uintptr) {}

func memSize(_ *libc.TLS, file, size uintptr) int32 {
	memory.Lock()
	defer memory.Unlock()
	*(*int64)(at(size)) = handleAt(file).f.size
	return sqlite3.SQLITE_OK
}

// memLock takes one of the locks of a database, which SQLite names by levels.
func memLock(_ *libc.TLS, file uintptr, level int32) int32 {
	memory.Lock()
	defer memory.Unlock()
	h := handleAt(file)
	if h.level >= level {
		return sqlite3.SQLITE_OK
	}
	highest := int32(sqlite3.SQLITE_LOCK_NONE)
	for _, u := range h.f.users {
		if u != h {
			highest = max(highest, u.level)
		}
	}
	switch {
	case level == sqlite3.SQLITE_LOCK_SHARED && highest >= sqlite3.SQLITE_LOCK_PENDING,
		level > sqlite3.SQLITE_LOCK_SHARED && highest >= sqlite3.SQLITE_LOCK_RESERVED:
		return sqlite3.SQLITE_BUSY
	case level == sqlite3.SQLITE_LOCK_EXCLUSIVE && highest >= sqlite3.SQLITE_LOCK_SHARED:
		h.level = sqlite3.SQLITE_LOCK_PENDING // nobody else begins to read
		return sqlite3.SQLITE_BUSY
	}
	h.level = level
	return sqlite3.SQLITE_OK
}

func memUnlock(_ *libc.TLS, file uintptr, level int32) int32 {
	memory.Lock()
	defer memory.Unlock()
	h := handleAt(file)
	h.level = min(h.level, level)
	return sqlite3.SQLITE_OK
}

func memReserved(_ *libc.TLS, file, out uintptr) int32 {
	memory.Lock()
	defer memory.Unlock()
	*(*int32)(at(out)) = 0
	for _, u := range handleAt(file).f.users {
		if u.level >= sqlite3.SQLITE_LOCK_RESERVED {
			*(*int32)(at(out)) = 1
		}
	}
	return sqlite3.SQLITE_OK
}

func memSector(*libc.TLS, uintptr) int32 { return 4096 }

// memTraits are those of a file system of Linux.
func memTraits(*libc.TLS, uintptr) int32 {
	return sqlite3.SQLITE_IOCAP_POWERSAFE_OVERWRITE | sqlite3.SQLITE_IOCAP_SUBPAGE_READ
}

// memShmMap gives a part of the index of a write-ahead log, which those who have a
// database open have in common.
func memShmMap(tls *libc.TLS, file uintptr, n, size, extend int32, out uintptr) int32 {
	memory.Lock()
	defer memory.Unlock()
	f := handleAt(file).f
	for extend != 0 && int(n) >= len(f.shm) {
		p := libc.Xcalloc(tls, 1, libc.Tsize_t(size))
		if p == 0 {
			return sqlite3.SQLITE_NOMEM
		}
		f.shm = append(f.shm, p)
	}
	*(*uintptr)(at(out)) = 0
	if int(n) < len(f.shm) {
		*(*uintptr)(at(out)) = f.shm[n]
	}
	return sqlite3.SQLITE_OK
}

// forgetIndex frees the index of a write-ahead log: it is made again from the log.
func (f *memFile) forgetIndex(tls *libc.TLS) {
	for _, p := range f.shm {
		libc.Xfree(tls, p)
	}
	f.shm = nil
}

// memShmLock takes or gives some of the index's locks: one alone or several together.
func memShmLock(_ *libc.TLS, file uintptr, first, n, flags int32) int32 {
	memory.Lock()
	defer memory.Unlock()
	h, mask := handleAt(file), uint32(1)<<(first+n)-uint32(1)<<first
	switch {
	case flags&sqlite3.SQLITE_SHM_UNLOCK != 0:
		h.unlockIndex(mask)
	case flags&sqlite3.SQLITE_SHM_SHARED != 0:
		if h.shared&mask != 0 {
			return sqlite3.SQLITE_OK
		}
		if h.f.held[first] < 0 {
			return sqlite3.SQLITE_BUSY
		}
		h.f.held[first]++
		h.shared |= mask
	default:
		for i := first; i < first+n; i++ {
			if h.f.held[i] != 0 {
				return sqlite3.SQLITE_BUSY
			}
		}
		for i := first; i < first+n; i++ {
			h.f.held[i] = -1
		}
		h.sole |= mask
	}
	return sqlite3.SQLITE_OK
}

func (h *memHandle) unlockIndex(mask uint32) {
	for i := range h.f.held {
		switch bit := uint32(1) << i; {
		case h.sole&mask&bit != 0:
			h.f.held[i] = 0
		case h.shared&mask&bit != 0:
			h.f.held[i]--
		}
	}
	h.shared &^= mask
	h.sole &^= mask
}

func memShmUnmap(tls *libc.TLS, file uintptr, remove int32) int32 {
	memory.Lock()
	defer memory.Unlock()
	h := handleAt(file)
	h.unlockIndex(h.shared | h.sole)
	if remove != 0 {
		h.f.forgetIndex(tls)
	}
	return sqlite3.SQLITE_OK
}

func memDelete(_ *libc.TLS, _, name uintptr, _ int32) int32 {
	memory.Lock()
	defer memory.Unlock()
	path := libc.GoString(name)
	if memory.files[path] == nil {
		return sqlite3.SQLITE_IOERR_DELETE_NOENT
	}
	delete(memory.files, path)
	return sqlite3.SQLITE_OK
}

// memAccess reports whether a file is there. As with files of the system, a journal of
// no bytes is none.
func memAccess(_ *libc.TLS, _, name uintptr, what int32, out uintptr) int32 {
	memory.Lock()
	defer memory.Unlock()
	*(*int32)(at(out)) = 0
	if f := memory.files[libc.GoString(name)]; f != nil && (what != sqlite3.SQLITE_ACCESS_EXISTS || f.size > 0) {
		*(*int32)(at(out)) = 1
	}
	return sqlite3.SQLITE_OK
}

func memFullName(_ *libc.TLS, _, name uintptr, n int32, out uintptr) int32 {
	path := libc.GoString(name)
	if len(path) >= int(n) {
		return sqlite3.SQLITE_CANTOPEN
	}
	copy(unsafe.Slice((*byte)(at(out)), n), path+"\x00")
	return sqlite3.SQLITE_OK
}

// memRandom is for names of files and salts of logs, which nobody guesses here.
func memRandom(_ *libc.TLS, _ uintptr, n int32, out uintptr) int32 {
	b := unsafe.Slice((*byte)(at(out)), n)
	for i := range b {
		b[i] = byte(37 * i)
	}
	return n
}

// memSleep is for who waits for a lock: whoever has it is a goroutine of this process.
func memSleep(_ *libc.TLS, _ uintptr, micros int32) int32 {
	runtime.Gosched()
	return micros
}

func memError(*libc.TLS, uintptr, int32, uintptr) int32 { return sqlite3.SQLITE_OK }

func memTime(_ *libc.TLS, _, out uintptr) int32 {
	*(*int64)(at(out)) = 0 // nothing here asks SQLite for the time
	return sqlite3.SQLITE_OK
}

// copyMemory copies all files below a folder to below another one, as they are now.
func copyMemory(from, to string) {
	memory.Lock()
	defer memory.Unlock()
	for _, p := range slices.Collect(maps.Keys(memory.files)) {
		rest, ok := strings.CutPrefix(p, from+string(filepath.Separator))
		if !ok {
			continue
		}
		memory.files[filepath.Join(to, rest)] = memory.files[p].copy()
	}
}

// dropMemory forgets all files below a folder.
func dropMemory(dir string) {
	memory.Lock()
	defer memory.Unlock()
	maps.DeleteFunc(memory.files, func(p string, f *memFile) bool {
		mine := strings.HasPrefix(p, dir+string(filepath.Separator))
		if mine && len(f.users) == 0 {
			f.truncate(0)
		}
		return mine
	})
}
