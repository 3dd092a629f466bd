package main

import (
	"syscall"
	"time"
)

// A reserve is memory that was touched, and that is given to the system bit by
// bit as it is used up.
//
// A virtual machine gets its memory page by page at the first touch, which costs
// several times what writing does (measured: 1.7 s of processor time for 1 GiB,
// where writing takes 0.12 s), and one that reports free pages to its host loses
// them again two seconds after they were freed. To free what the peer will need
// before the clock starts is therefore not enough.
type reserve struct {
	parts [][]byte
	end   chan struct{}
	ended chan struct{}
}

// reservePart is what is given at once; so much of it, and no more, lies about.
const reservePart = 32 << 20

// hold touches up to n bytes, and at most half of what is free.
func hold(n int64) *reserve {
	r := &reserve{end: make(chan struct{}), ended: make(chan struct{})}
	for n = min(n, free()/2); n >= reservePart; n -= reservePart {
		b, err := syscall.Mmap(-1, 0, reservePart, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			break
		}
		r.parts = append(r.parts, b)
		syscall.Madvise(b, syscall.MADV_HUGEPAGE) // where that cannot be had, giving takes longer
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
	}
	return r
}

// give keeps the system supplied until drop.
func (r *reserve) give() {
	defer close(r.ended)
	level := free() + reservePart
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		for len(r.parts) > 0 && free() < level {
			r.part()
		}
		select {
		case <-r.end:
			return
		case <-t.C:
		}
	}
}

func (r *reserve) part() {
	syscall.Munmap(r.parts[0])
	r.parts = r.parts[1:]
}

// drop gives all that is left. Call it once, after give was begun.
func (r *reserve) drop() {
	close(r.end)
	<-r.ended
	for len(r.parts) > 0 {
		r.part()
	}
}

// free is how many bytes of memory nothing is in.
func free() int64 {
	var i syscall.Sysinfo_t
	if syscall.Sysinfo(&i) != nil {
		return 0
	}
	return int64(i.Freeram) * int64(i.Unit)
}
