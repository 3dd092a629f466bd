package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// A row is what one peer did in one workload.
type row struct {
	Workload string           `json:"workload"`
	What     string           `json:"what"`
	Peer     string           `json:"peer"`
	Seconds  []float64        `json:"seconds"`         // each repetition; W5: each save
	CPU      []float64        `json:"cpu_seconds"`     // all processes of the peer
	Moved    []int64          `json:"moved,omitempty"` // bytes over the loopback interface, headers and all
	Peak     map[string]int64 `json:"peak,omitempty"`  // largest resident size of each process that stays, bytes
}

// A machine is where a run was.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"file_system"`
	Go         string `json:"go"`
}

type report struct {
	Date        string            `json:"date"`
	Commit      string            `json:"commit"`
	Machine     machine           `json:"machine"`
	Versions    map[string]string `json:"versions"`
	Sizes       sizes             `json:"sizes"`
	Repetitions int               `json:"repetitions"`
	Rows        []row             `json:"rows"`
}

// merge adds rows to those of the same workload and peer.
func merge(rows, more []row) []row {
	for _, m := range more {
		i := slices.IndexFunc(rows, func(r row) bool { return r.Workload == m.Workload && r.Peer == m.Peer })
		if i < 0 {
			rows = append(rows, m)
			continue
		}
		r := &rows[i]
		r.Seconds, r.CPU, r.Moved = append(r.Seconds, m.Seconds...), append(r.CPU, m.CPU...), append(r.Moved, m.Moved...)
		for k, v := range m.Peak {
			r.Peak[k] = max(r.Peak[k], v)
		}
	}
	return rows
}

// quantile is the value that a share of a list does not exceed.
func quantile[T int64 | float64](list []T, share float64) T {
	if len(list) == 0 {
		return 0
	}
	l := slices.Sorted(slices.Values(list))
	return l[min(int(share*float64(len(l))), len(l)-1)]
}

func (r row) median() float64 { return quantile(r.Seconds, 0.5) }

// time is a row's time as a person reads it.
func (r row) time() string {
	if r.Workload == "W5" {
		return fmt.Sprintf("%.0f ms, p95 %.0f ms", 1000*r.median(), 1000*quantile(r.Seconds, 0.95))
	}
	if len(r.Seconds) == 1 {
		return fmt.Sprintf("%.2f s", r.median())
	}
	return fmt.Sprintf("%.2f s (%.2f–%.2f)", r.median(), slices.Min(r.Seconds), slices.Max(r.Seconds))
}

func (r row) short() string {
	s := r.time()
	if len(r.CPU) > 0 {
		s += fmt.Sprintf(", CPU %.2f s", quantile(r.CPU, 0.5))
	}
	if len(r.Moved) > 0 {
		s += fmt.Sprintf(", moved %.2f MiB", float64(quantile(r.Moved, 0.5))/(1<<20))
	}
	for _, k := range slices.Sorted(maps.Keys(r.Peak)) {
		s += fmt.Sprintf(", %s %d MiB", k, r.Peak[k]>>20)
	}
	return s
}

// A bar is what Signet is to reach against a peer, as a share of its time.
type bar struct {
	workload, peer string
	median, p95    float64 // p95: 0 where there is no bar
}

var bars = []bar{
	{"W1", "rsync", 1.3, 0}, {"W1", "syncthing", 0.7, 0},
	{"W2", "restic", 0.9, 0}, {"W8", "restic", 1.0, 0},
	{"W3", "rsync", 1.0, 0}, {"W4", "rsync", 0.5, 0},
	{"W5", "syncthing", 0.5, 0.5}, {"W6", "rsync", 0.1, 0}, {"W6", "syncthing", 0.1, 0},
}

// print writes the table, a row for each workload and peer, and how Signet
// stands.
func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "%s, commit %s. %s, %d cores, %s, %s, %s. %d repetitions.\n", r.Date, r.Commit, r.Machine.CPU, r.Machine.Cores,
		r.Machine.Kernel, r.Machine.FileSystem, r.Machine.Go, r.Repetitions)
	for _, k := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(w, "%s: %s.\n", k, r.Versions[k])
	}
	fmt.Fprintf(w, "\n| workload | peer | median (min–max) | Signet takes | CPU s | MiB over loopback | peak MiB |\n|---|---|---|---|---|---|---|\n")
	by := map[string]map[string]row{}
	for _, x := range r.Rows {
		if by[x.Workload] == nil {
			by[x.Workload] = map[string]row{}
		}
		by[x.Workload][x.Peer] = x
	}
	for _, x := range r.Rows {
		ratio := ""
		if s, ok := by[x.Workload]["signet"]; ok && x.Peer != "signet" {
			ratio = fmt.Sprintf("%.2f x", s.median()/x.median())
			if x.Workload == "W5" {
				ratio += fmt.Sprintf(", p95 %.2f x", quantile(s.Seconds, 0.95)/quantile(x.Seconds, 0.95))
			}
		}
		cpu, moved, peak := "", "", []string{}
		if len(x.CPU) > 0 {
			cpu = fmt.Sprintf("%.2f", quantile(x.CPU, 0.5))
		}
		if len(x.Moved) > 0 {
			moved = fmt.Sprintf("%.2f", float64(quantile(x.Moved, 0.5))/(1<<20))
		}
		for _, k := range slices.Sorted(maps.Keys(x.Peak)) {
			peak = append(peak, fmt.Sprintf("%s %d", k, x.Peak[k]>>20))
		}
		fmt.Fprintf(w, "| %s %s | %s | %s | %s | %s | %s | %s |\n", x.Workload, x.What, x.Peer, x.time(), ratio, cpu, moved, strings.Join(peak, ", "))
	}
	fmt.Fprintln(w)
	for _, b := range bars {
		own, ok := by[b.workload]["signet"]
		other, there := by[b.workload][b.peer]
		if !ok || !there {
			continue
		}
		got, want := own.median()/other.median(), fmt.Sprintf("%.2g", b.median)
		reached := got <= b.median
		shown := fmt.Sprintf("%.2f", got)
		if b.p95 > 0 {
			late := quantile(own.Seconds, 0.95) / quantile(other.Seconds, 0.95)
			reached = reached && late <= b.p95
			shown, want = fmt.Sprintf("%s and p95 %.2f", shown, late), want+" and "+fmt.Sprintf("%.2g", b.p95)
		}
		word := "reached"
		if !reached {
			word = "NOT reached"
		}
		fmt.Fprintf(w, "* %s: %s x %s; bar %s: %s.\n", b.workload, shown, b.peer, want, word)
	}
}

// write writes what was measured to a file.
func write(path string, measured any) error {
	b, err := json.MarshalIndent(measured, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return string(bytes.TrimSpace(out))
}

func thisMachine(dir string) machine {
	m := machine{CPU: "unknown CPU", Cores: runtime.NumCPU(), Kernel: runtime.GOOS, FileSystem: "unknown file system", Go: runtime.Version()}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			m.CPU = strings.Trim(line, " \t:")
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = "Linux " + strings.TrimSpace(string(b))
	}
	if out, err := exec.Command("findmnt", "-n", "-o", "FSTYPE", "-T", dir).Output(); err == nil {
		m.FileSystem = strings.TrimSpace(string(out))
	}
	return m
}
