//go:build unix

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A quarry is something to look for: it is found if one of its spellings is
// anywhere in a file or in a file's name.
type quarry struct {
	what      string
	spellings [][]byte
}

// spelled adds to bytes what they look like as hexadecimal digits and as
// base64, which depends on where in a text they begin.
func spelled(what string, raw ...[]byte) quarry {
	q := quarry{what: what}
	for _, r := range raw {
		q.spellings = append(q.spellings, r, []byte(hex.EncodeToString(r)), []byte(strings.ToUpper(hex.EncodeToString(r))))
		for shift := range 3 {
			if len(r) < shift+6 {
				break
			}
			part := r[shift:]
			part = part[:len(part)/3*3] // whole groups: what follows does not matter
			q.spellings = append(q.spellings, []byte(base64.StdEncoding.EncodeToString(part)), []byte(base64.URLEncoding.EncodeToString(part)))
		}
	}
	return q
}

// leastName is how many bytes a name has that is looked for. A shorter one is found by
// chance: four bytes once in some 4,300 megabytes of sealed bytes, so that it would be seen
// in one run of a few thousand.
const leastName = 5

// names are the names of files and folders below dir, and others, but for the shortest.
func names(dir string, others ...string) (list []quarry, err error) {
	seen := map[string]bool{}
	add := func(n string) {
		if !seen[n] && len(n) >= leastName {
			seen[n] = true
			list = append(list, spelled(n, []byte(n)))
		}
	}
	for _, n := range others {
		add(n)
	}
	err = below(dir, func(path string, e fs.DirEntry) error { add(e.Name()); return nil })
	return list, err
}

// window is how many bytes of a content have to stand together to be found.
const window = 16

// contents are the contents of the files below dir: for each, pieces from its
// beginning, its end and in between. Empty files have none.
func contents(dir string) (list []quarry, err error) {
	err = below(dir, func(path string, e fs.DirEntry) error {
		if !e.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 {
			return err
		}
		if len(data) <= window {
			list = append(list, spelled(path, data))
			return nil
		}
		var raw [][]byte
		for i := range 8 {
			at := (len(data) - window) * i / 7
			raw = append(raw, data[at:at+window])
		}
		list = append(list, spelled(path, raw...))
		return nil
	})
	return list, err
}

// below visits what a folder holds, without Signet's own.
func below(dir string, each func(path string, e fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || path == dir:
			return err
		case e.Name() == hidden:
			return fs.SkipDir
		}
		return each(path, e)
	})
}

// search looks for each quarry in all files below dir and in their names, and
// returns how many of them it found, and in how many files it looked.
func search(dir string, list []quarry) (found []string, files int, err error) {
	var hay [][]byte
	err = below(dir, func(path string, e fs.DirEntry) error {
		hay = append(hay, []byte(e.Name()))
		if !e.Type().IsRegular() {
			return nil
		}
		files++
		data, err := os.ReadFile(path)
		hay = append(hay, data)
		return err
	})
	for _, q := range list {
		if q.in(hay) {
			found = append(found, q.what)
		}
	}
	return found, files, err
}

func (q quarry) in(hay [][]byte) bool {
	for _, s := range q.spellings {
		for _, h := range hay {
			if bytes.Contains(h, s) {
				return true
			}
		}
	}
	return false
}

// An object is one that the service stores: where it is in which pack.
type object struct {
	pack           string
	offset, length int64
	id             [32]byte
}

// What a pack looks like (the service's own page says so too): it begins with
// packMagic, then record after record of recordMagic, region (32), id (32),
// length u32, bytes.
const (
	packMagic   = "signet pack 1\n\x00\x00"
	recordMagic = "sobj"
	recordSize  = 4 + 32 + 32 + 4
)

// objects lists what is in the packs of a service.
func objects(data string) (list []object, err error) {
	packs, err := filepath.Glob(filepath.Join(data, "packs", "*", "*.pack"))
	for _, p := range packs {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(b, []byte(packMagic)) {
			return nil, fmt.Errorf("%s is no pack of the format that this program knows", p)
		}
		for at := len(packMagic); at+recordSize <= len(b) && string(b[at:at+4]) == recordMagic; {
			n := int(binary.BigEndian.Uint32(b[at+68:]))
			list = append(list, object{p, int64(at + recordSize), int64(n), [32]byte(b[at+36 : at+68])})
			at += recordSize + n
		}
	}
	return list, err
}

// known are three things that the service does have: a search that does not
// find them finds nothing else either.
func known(data string, address string) ([]quarry, error) {
	list, err := objects(data)
	if err != nil || len(list) == 0 {
		return nil, fmt.Errorf("the service has no objects: %v", err)
	}
	o := list[len(list)/2]
	return []quarry{spelled("the first bytes of a pack", []byte(packMagic)), spelled("the id of an object", o.id[:]), spelled("the service's address", []byte(address))}, nil
}

// flip changes one bit of one byte of a stored object, in place. Twice is as
// it was.
func (o object) flip() (at int64, err error) {
	f, err := os.OpenFile(o.pack, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	at = o.offset + o.length/2
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return 0, err
	}
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	return at, err
}
