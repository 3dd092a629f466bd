//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The devices of the story and what they keep in step.
const (
	laptop  = "laptop"
	desktop = "desktop"
	region  = "Documents"
)

// folder is where a device has its documents.
func (s *stage) folder(device string) string { return filepath.Join(s.dir, device, region) }

func (s *stage) data() string { return filepath.Join(s.dir, "service") }

// sevenSteps is the story. Each step leaves what the next one needs.
func (s *stage) sevenSteps(ctx context.Context) error {
	s.say("Signet on this machine: a service and two devices, all in %s.", filepath.Join(s.root, s.dir))
	s.say("Each line after a $ is typed here as you see it. To type some of them yourself,")
	s.say("open a second terminal and begin with")
	s.show("cd " + line([]string{s.root}))
	for _, step := range []func(context.Context) error{
		s.service1, s.firstDevice, s.secondDevice, s.changes, s.whatTheServiceHas, s.damage,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.yourOwn()
	return nil
}

func (s *stage) service1(ctx context.Context) error {
	s.heading("A service that stores and orders, and has no key to anything")
	return s.serve(ctx, "127.0.0.1:0")
}

func (s *stage) firstDevice(ctx context.Context) error {
	s.heading("The first device makes all keys and adds a folder")
	if err := s.enrolFirst(ctx); err != nil {
		return err
	}
	if err := sample(filepath.Join(s.root, s.folder(laptop))); err != nil {
		return err
	}
	if _, err := s.must(ctx, s.device(laptop, "add", s.folder(laptop))...); err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.must(ctx, s.device(laptop, "sync")...); err != nil {
		return err
	}
	s.note("sealed, signed, sent and acknowledged in %d ms", time.Since(began).Milliseconds())
	return nil
}

// enrolFirst redeems the first invitation: it makes the organisation.
func (s *stage) enrolFirst(ctx context.Context) error {
	out, err := s.must(ctx, server, "invite", "--data", s.data(), "anna")
	if err != nil {
		return err
	}
	link := regexp.MustCompile(`(?m)^https?://\S+`).FindString(out)
	if link == "" {
		return errors.New("invite printed no URL")
	}
	s.note("(SIGNET_KEYRING=off keeps this trial's keys in files here, out of your own keyring;")
	s.note("--yes answers what a person would be asked)")
	_, err = s.must(ctx, append([]string{"SIGNET_KEYRING=off"}, s.device(laptop, "login", link, "--yes", "--device", laptop)...)...)
	return err
}

func (s *stage) secondDevice(ctx context.Context) error {
	s.heading("A second device is linked: both show the same code, and the first seals the key to it")
	if err := s.link(ctx); err != nil {
		return err
	}
	if _, err := s.must(ctx, s.device(desktop, "add", s.folder(desktop))...); err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.must(ctx, s.device(desktop, "sync")...); err != nil {
		return err
	}
	s.note("fetched, verified and opened in %d ms", time.Since(began).Milliseconds())
	_, err := s.same("both folders", filepath.Join(s.root, s.folder(laptop)), filepath.Join(s.root, s.folder(desktop)))
	return err
}

var (
	codeAsked = regexp.MustCompile(`asks to be added, code (\d{3} ?\d{3})`)
	codeShown = regexp.MustCompile(`code: (\d{3} ?\d{3})`)
)

// link adds the second device: one command waits on each device, and each
// shows a code that it made by itself.
func (s *stage) link(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(s.root, s.folder(desktop)), 0o755); err != nil {
		return err
	}
	adding := s.device(laptop, "device", "add", "--yes")
	s.show(line(adding) + " &")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	link, ended := make(chan string, 1), make(chan error, 1)
	var asked string
	go func() {
		out, code, err := s.quietly(ctx, io.MultiWriter(&indent{w: s.out}, firstLine(link)), adding...)
		if err == nil && code != 0 {
			err = fmt.Errorf("%s: exit code %d: %s", line(adding), code, out)
		}
		asked = out
		ended <- err
	}()
	var url string
	select {
	case url = <-link:
	case err := <-ended:
		return fmt.Errorf("device add ended before another device came: %w", err)
	}
	shown, err := s.must(ctx, append([]string{"SIGNET_KEYRING=off"}, s.device(desktop, "login", url, "--yes", "--device", desktop)...)...)
	if err != nil {
		return err
	}
	if err := <-ended; err != nil {
		return err
	}
	a, b := codeAsked.FindStringSubmatch(asked), codeShown.FindStringSubmatch(shown)
	if a == nil || b == nil || a[1] != b[1] {
		return fmt.Errorf("the codes differ: %q, %q", a, b)
	}
	s.note("code on the %s: %s, code on the %s: %s: equal, so nobody sits in between", laptop, a[1], desktop, b[1])
	return nil
}

// rounds is how often a change is timed.
const rounds = 9

func (s *stage) changes(ctx context.Context) error {
	s.heading("With both daemons running, a change on one side appears on the other")
	for _, d := range []string{laptop, desktop} {
		if _, err := s.must(ctx, s.device(d, "up")...); err != nil {
			return err
		}
	}
	if err := s.inStep(ctx); err != nil {
		return err
	}
	name := filepath.Join("letters", "Anna, 3 March.txt")
	from, to := filepath.Join(s.folder(laptop), name), filepath.Join(s.root, s.folder(desktop), name)
	began := time.Now()
	if err := s.shell(ctx, "echo 'PS: bring the long rope' >> "+line([]string{from})); err != nil {
		return err
	}
	if err := s.appears(ctx, to, filepath.Join(s.root, from)); err != nil {
		return err
	}
	s.note("the %s's file had the new line after %d ms", desktop, time.Since(began).Milliseconds())
	took, err := s.timeChanges(ctx, filepath.Join(s.root, from), to)
	if err != nil {
		return err
	}
	s.note("%d more changes: median %d ms, slowest %d ms", len(took), took[len(took)/2].Milliseconds(), took[len(took)-1].Milliseconds())
	return s.rename(ctx)
}

// timeChanges changes a file again and again, and returns how long each change
// took to the other side, sorted.
func (s *stage) timeChanges(ctx context.Context, from, to string) (took []time.Duration, err error) {
	for i := range rounds {
		f, err := os.OpenFile(from, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(f, "PPS %d\n", i+1)
		began := time.Now()
		if err := errors.Join(f.Close(), s.appears(ctx, to, from)); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took, nil
}

// appears waits until a file has the bytes of another.
func (s *stage) appears(ctx context.Context, path, like string) error {
	want, err := os.ReadFile(like)
	if err != nil {
		return err
	}
	return until(ctx, "the change on the other side", func() bool {
		got, err := os.ReadFile(path)
		return err == nil && bytes.Equal(got, want)
	})
}

// patience is how long anything here may take.
const patience = 15 * time.Second

// until waits for what is to happen.
func until(ctx context.Context, what string, happened func() bool) error {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	deadline := time.Now().Add(patience)
	for !happened() {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not come within %v", what, patience)
		}
		select {
		case <-ctx.Done():
			return errInterrupted
		case <-t.C:
		}
	}
	return nil
}

// rename renames a folder and says from the counters what that cost.
func (s *stage) rename(ctx context.Context) error {
	if err := s.inStep(ctx); err != nil {
		return err
	}
	mine, theirs, err := s.counters(ctx)
	if err != nil {
		return err
	}
	old, renamed := filepath.Join(s.folder(laptop), "photos"), filepath.Join(s.folder(laptop), "pictures")
	inside, err := list(filepath.Join(s.root, old))
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.shell(ctx, "mv "+line([]string{old, renamed})); err != nil {
		return err
	}
	err = until(ctx, "the renamed folder", func() bool {
		l, err := list(filepath.Join(s.root, s.folder(desktop), "pictures"))
		_, gone := os.Stat(filepath.Join(s.root, s.folder(desktop), "photos"))
		return err == nil && gone != nil && len(differences(l, inside)) == 0
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	if err := s.inStep(ctx); err != nil {
		return err
	}
	mine2, theirs2, err := s.counters(ctx)
	if err != nil {
		return err
	}
	up, down := mine2.minus(mine), theirs2.minus(theirs)
	if up.Moves != 1 || up.Entries != 1 || up.ObjectsUp != 0 || up.FilesUp != 0 || down.Moves != 1 || down.ObjectsDown != 0 || down.FilesDown != 0 {
		return fmt.Errorf("a renamed folder is not one operation without content: %+v up, %+v down", up, down)
	}
	s.note("a renamed folder of %d files: on the other side after %d ms, as %d operation and %d objects of content", inside.files(), took.Milliseconds(), up.Moves, up.ObjectsUp)
	s.note("(counters of signet status --json: %d entry and %d files from the %s; %d rename and %d files to the %s)", up.Entries, up.FilesUp, laptop, down.Moves, down.FilesDown, desktop)
	return nil
}

// counters are what a volume has moved.
type counters struct {
	FilesUp     int64 `json:"files_up"`
	FilesDown   int64 `json:"files_down"`
	BytesUp     int64 `json:"bytes_up"`
	BytesDown   int64 `json:"bytes_down"`
	ObjectsUp   int64 `json:"objects_up"`
	ObjectsDown int64 `json:"objects_down"`
	Entries     int64 `json:"entries"`
	Moves       int64 `json:"moves"`
}

func (c counters) minus(o counters) counters {
	return counters{c.FilesUp - o.FilesUp, c.FilesDown - o.FilesDown, c.BytesUp - o.BytesUp, c.BytesDown - o.BytesDown,
		c.ObjectsUp - o.ObjectsUp, c.ObjectsDown - o.ObjectsDown, c.Entries - o.Entries, c.Moves - o.Moves}
}

// counters asks both devices for their only volume's counters.
func (s *stage) counters(ctx context.Context) (mine, theirs counters, err error) {
	if mine, err = s.countersOf(ctx, laptop); err == nil {
		theirs, err = s.countersOf(ctx, desktop)
	}
	return mine, theirs, err
}

func (s *stage) countersOf(ctx context.Context, device string) (counters, error) {
	cmd := s.command(ctx, s.device(device, "status", "--json")...)
	out, err := cmd.Output()
	if err != nil {
		return counters{}, fmt.Errorf("status of the %s: %w", device, err)
	}
	var status struct{ Volumes []struct{ Counters counters } }
	if err := json.Unmarshal(out, &status); err != nil {
		return counters{}, err
	}
	if len(status.Volumes) != 1 {
		return counters{}, fmt.Errorf("the %s has %d volumes", device, len(status.Volumes))
	}
	return status.Volumes[0].Counters, nil
}

// inStep waits until both devices are.
func (s *stage) inStep(ctx context.Context) error {
	for _, d := range []string{laptop, desktop} {
		out, code, err := s.quietly(ctx, io.Discard, s.device(d, "wait", "--timeout", patience.String())...)
		if err != nil || code != 0 {
			return fmt.Errorf("the %s does not get in step: %v %s", d, err, strings.TrimSpace(out))
		}
	}
	return nil
}

func (s *stage) whatTheServiceHas(ctx context.Context) error {
	s.heading("What the service has, beside what a device has")
	service, docs := filepath.Join(s.root, s.data()), filepath.Join(s.root, s.folder(laptop))
	left, err := tree(service)
	if err != nil {
		return err
	}
	right, err := tree(docs)
	if err != nil {
		return err
	}
	s.beside(s.data(), left, s.folder(laptop), right)
	ns, err := names(docs, laptop, desktop, region)
	if err != nil {
		return err
	}
	cs, err := contents(docs)
	if err != nil {
		return err
	}
	foundNames, n, err := search(service, ns)
	if err != nil {
		return err
	}
	foundContents, _, err := search(service, cs)
	if err != nil {
		return err
	}
	if err := s.searchWorks(service, docs, ns[3:], cs); err != nil {
		return err
	}
	s.note("searched %d files of the service for %d names and %d contents: found %d", n, len(ns), len(cs), len(foundNames)+len(foundContents))
	if all := append(foundNames, foundContents...); len(all) > 0 {
		return fmt.Errorf("the service has what it must not have: %q", all)
	}
	return nil
}

// searchWorks shows that the same search finds what is there.
func (s *stage) searchWorks(service, docs string, ns, cs []quarry) error {
	address, err := s.address()
	if err != nil {
		return err
	}
	there, err := known(service, address)
	if err != nil {
		return err
	}
	found, _, err := search(service, there)
	if err != nil {
		return err
	}
	inDocs, _, err := search(docs, append(slices.Clone(ns), cs...))
	if err != nil {
		return err
	}
	s.note("the same search does find: in the service %d of %d things that it has (the start of a pack,", len(found), len(there))
	s.note("an object's id, its own address), in the %s's folder %d of %d names and contents", laptop, len(inDocs), len(ns)+len(cs))
	if len(found) != len(there) || len(inDocs) != len(ns)+len(cs) {
		return errors.New("the search does not find what is there")
	}
	return nil
}

// address is the service's URL.
func (s *stage) address() (string, error) {
	cmd := s.command(context.Background(), server, "status", "--json", "--data", s.data())
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	var status struct{ Address string }
	err = json.Unmarshal(out, &status)
	return status.Address, err
}

// changing is the file that step six is about.
var changing = filepath.Join("music", "Evening song.ogg")

func (s *stage) damage(ctx context.Context) error {
	s.heading("One byte of what the service stores is changed while a device still has to fetch it")
	if _, err := s.must(ctx, s.device(desktop, "down")...); err != nil {
		return err
	}
	object, err := s.newObject(ctx)
	if err != nil {
		return err
	}
	folder := filepath.Join(s.root, s.folder(desktop))
	before, err := list(folder)
	if err != nil {
		return err
	}
	at, err := object.flip()
	if err != nil {
		return err
	}
	pack, _ := filepath.Rel(s.root, object.pack)
	s.note("byte %d of %s: one bit is turned over", at, pack)
	if err := s.refused(ctx, before, folder); err != nil {
		object.flip()
		return err
	}
	if _, err := object.flip(); err != nil {
		return err
	}
	s.note("the byte is put back")
	if _, err := s.must(ctx, s.device(desktop, "sync")...); err != nil {
		return err
	}
	if _, err := s.same("both folders", filepath.Join(s.root, s.folder(laptop)), folder); err != nil {
		return err
	}
	if _, err := s.must(ctx, s.device(desktop, "notices", "--seen")...); err != nil {
		return err
	}
	_, err = s.must(ctx, s.device(desktop, "up")...)
	return err
}

// newObject has the laptop change a file, and returns the object that holds
// its new bytes.
func (s *stage) newObject(ctx context.Context) (object, error) {
	old, err := objects(filepath.Join(s.root, s.data()))
	if err != nil {
		return object{}, err
	}
	file := filepath.Join(s.folder(laptop), changing)
	if err := s.shell(ctx, "head -c 200000 /dev/urandom > "+line([]string{file})); err != nil {
		return object{}, err
	}
	if _, err := s.must(ctx, s.device(laptop, "wait")...); err != nil {
		return object{}, err
	}
	all, err := objects(filepath.Join(s.root, s.data()))
	if err != nil {
		return object{}, err
	}
	var largest object
	for _, o := range all {
		if !slices.Contains(old, o) && o.length > largest.length {
			largest = o
		}
	}
	if largest.length == 0 {
		return object{}, errors.New("the change of a file brought no object to the service")
	}
	return largest, nil
}

// refused fails unless a sync notices the damage and leaves the folder alone.
func (s *stage) refused(ctx context.Context, before listing, folder string) error {
	_, code, err := s.run(ctx, s.device(desktop, "sync")...)
	if err != nil {
		return err
	}
	after, err := list(folder)
	if err != nil {
		return err
	}
	if code != 3 {
		return fmt.Errorf("exit code %d after a byte was changed, want 3", code)
	}
	if d := differences(before, after); len(d) > 0 {
		return fmt.Errorf("the folder changed: %q", d)
	}
	s.note("exit code %d: not verified. The %s's folder is untouched: %d of %d files as before", code, desktop, after.files(), before.files())
	return nil
}

func (s *stage) yourOwn() {
	s.heading("A folder of your own")
	s.note("Try it here, on this machine, with a folder that you have:")
	s.note("    make run DIR=~/Documents")
	s.note("It puts one hidden folder, .signet, into it; make clean-run takes that away again.")
	s.note("For real use, on your machines, README.md has four lines for each: First use.")
}
