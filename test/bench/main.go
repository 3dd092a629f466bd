// Command bench measures Signet beside other programs, on the same generated
// input in one run, and prints ratios: absolute times are of one machine.
//
// What is measured: a change on device A, until device B shows it complete,
// Signet's service and its durability included, all on one machine over the
// loopback interface with TLS 1.3. A program that does not make its files
// durable by itself gets a sync -f of its target on the clock. Peers take
// turns within each repetition, and what b has is compared with a after the
// clock stopped. doc/performance.md has the last table and says what its rows
// are.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ownNet is set where the bench has a network namespace of its own, so that
// what goes over its loopback interface is what it moved.
const ownNet = "BENCH_OWN_NET"

// options are what a run is asked for.
type options struct {
	size  sizes
	reps  int
	only  []string
	peers []peer
	work  string
	keep  bool
	say   func(format string, args ...any)
}

func main() {
	if err := command(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() error {
	big := flag.Bool("scale", false, "1,000,000 files in W4 and W9, 100,000 in W2")
	fast := flag.Bool("quick", false, "small input: shows that the bench works, measures nothing")
	only := flag.String("only", "", "workloads, as in W1,W5 (default all)")
	peers := flag.String("peers", "signet,rsync,syncthing,restic,kopia,rclone", "programs; syncthing-1s is Syncthing with a watcher delay of 1 s, syncthing-e2ee through a node without the password")
	reps := flag.Int("n", 3, "repetitions; the median counts")
	asJSON := flag.String("json", "", "also write what was measured to this file")
	work := flag.String("work", "", "folder to work in (default a temporary one, removed at the end)")
	bin := flag.String("bin", "bin", "folder with signet and signet-server")
	keep := flag.Bool("keep", false, "leave the working folder")
	flag.Parse()

	o := options{size: full, reps: *reps, work: *work, keep: *keep, say: func(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }}
	if *big {
		o.size = scale
	}
	if *fast {
		o.size = quick
	}
	if *only != "" {
		o.only = strings.Split(strings.ToUpper(*only), ",")
	}
	if slices.Contains(o.only, "W9") { // of Signet alone
		*peers = "signet"
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	found, err := find(ctx, strings.Split(*peers, ","), *bin)
	if err != nil {
		return err
	}
	// Programs are there now; from here on no network is needed.
	if again, err := apart(ctx); again {
		return err
	}
	o.peers = found.peers
	if o.work == "" {
		if o.work, err = os.MkdirTemp("", "signet-bench-"); err != nil {
			return err
		}
		if !o.keep {
			defer os.RemoveAll(o.work)
		}
	}
	if slices.Contains(o.only, "SLOW") {
		if len(o.only) > 1 {
			return errors.New("the slow line is measured by itself: say -only slow alone")
		}
		return runSlow(ctx, o, *bin)
	}
	if slices.Contains(o.only, "W9") {
		if len(o.only) > 1 {
			return errors.New("W9 is of Signet alone: say -only W9 alone")
		}
		return runGrowth(ctx, o, *bin, *asJSON)
	}
	r := report{Machine: thisMachine(o.work), Commit: commit(ctx), Date: time.Now().UTC().Format("2006-01-02"),
		Versions: found.versions, Sizes: o.size, Repetitions: o.reps}
	r.Rows, err = measure(ctx, o)
	r.print(os.Stdout)
	if *asJSON != "" {
		err = errors.Join(err, write(*asJSON, r))
	}
	return err
}

// apart runs the bench again in a network namespace of its own, where that can
// be had.
func apart(ctx context.Context) (again bool, err error) {
	if os.Getenv(ownNet) != "" || os.Getuid() != 0 {
		return false, nil
	}
	if exec.CommandContext(ctx, "unshare", "-n", "ip", "link", "set", "lo", "up").Run() != nil {
		return false, nil
	}
	self, err := os.Executable()
	if err != nil {
		return false, nil
	}
	args := append([]string{"-n", "sh", "-c", `ip link set lo up && exec "$0" "$@"`, self}, os.Args[1:]...)
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), ownNet+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return true, err
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	err = cmd.Wait()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		os.Exit(failed.ExitCode()) // it said why
	}
	return true, err
}

// measure runs the workloads: in each repetition, each workload, with each
// peer, the peers taking turns in who is first.
func measure(ctx context.Context, o options) (rows []row, err error) {
	for _, on := range []setting{apair, alone, standing} {
		var list []workload
		for _, w := range workloads {
			if w.on == on && (o.only == nil || slices.Contains(o.only, w.id)) {
				list = append(list, w)
			}
		}
		if len(list) == 0 {
			continue
		}
		part, err := series(ctx, o, list, on)
		rows = merge(rows, part)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// series measures workloads that share their pairs: a pair for each
// repetition, or where they look at a large tree one for all.
func series(ctx context.Context, o options, list []workload, on setting) (rows []row, err error) {
	var open []*session
	closeAll := func() {
		for _, s := range open {
			s.close()
			if !o.keep {
				os.RemoveAll(s.dir)
			}
		}
		open = nil
	}
	defer closeAll()
	for rep := range o.reps {
		if on != standing || rep == 0 {
			closeAll()
			for _, p := range o.peers {
				if !slices.ContainsFunc(list, func(w workload) bool { return fits(p, w) }) {
					continue
				}
				s, err := begin(ctx, o, p, on, fmt.Sprintf("%s-%d-%d", p.name(), on, rep), uint64(7+rep))
				if err != nil {
					return rows, err
				}
				open = append(open, s)
				if on != standing {
					continue
				}
				d, err := fill(ctx, s)
				s.cool()
				if err != nil {
					return rows, fmt.Errorf("%s: a tree of %d files: %w", s.peer, o.size.Tree, err)
				}
				o.say("    %-14s %d files arrived after %.2f s", s.peer, o.size.Tree, d.Seconds())
				rows = merge(rows, []row{{Workload: "first", What: "that tree, the first time", Peer: s.peer, Seconds: []float64{d.Seconds()}}})
			}
		}
		for _, w := range list {
			for i := range open {
				s := open[(i+rep)%len(open)]
				if !fits(s.maker, w) {
					continue
				}
				r, err := once(ctx, w, s)
				if err != nil {
					return rows, fmt.Errorf("%s with %s: %w", w.id, s.peer, err)
				}
				o.say("%d/%d %s %-14s %s", rep+1, o.reps, w.id, s.peer, r.short())
				rows = merge(rows, []row{r})
			}
		}
	}
	return rows, nil
}

// fits reports whether a peer is measured in a workload.
func fits(p peer, w workload) bool {
	if c, ok := p.(choosy); ok && !c.fits(w.id) {
		return false
	}
	_, keeps := p.(keeper)
	return keeps || w.on != alone
}

func begin(ctx context.Context, o options, p peer, on setting, name string, seed uint64) (*session, error) {
	dir := filepath.Join(o.work, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	open := p.open
	if on == alone {
		open = p.(keeper).keep
	}
	pair, err := open(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name(), err)
	}
	return &session{pair: pair, maker: p, peer: p.name(), dir: dir, seed: seed, size: o.size}, nil
}

// most is how long one measurement may take.
const most = 20 * time.Minute

func once(ctx context.Context, w workload, s *session) (r row, err error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	// Input is made and files are compared between these two: neither uses the
	// peer's processes or the loopback interface.
	before := s.usage()
	moved, known := loopback()
	took, err := w.run(ctx, s)
	s.cool()
	if err != nil {
		return r, err
	}
	after := s.usage()
	r = row{Workload: w.id, What: w.what, Peer: s.peer, CPU: []float64{(after.cpu - before.cpu).Seconds()}, Peak: after.peak}
	if n, ok := loopback(); ok && known {
		r.Moved = []int64{n - moved}
	}
	for _, d := range took {
		r.Seconds = append(r.Seconds, d.Seconds())
	}
	return r, nil
}
