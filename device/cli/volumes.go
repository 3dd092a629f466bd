package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/device/engine"
	"signet/device/owner"
)

// volumes are the commands about folders and regions.
func (a *app) volumes() []*cobra.Command {
	region := a.group("region", "Regions: folder trees with keys of their own")
	region.AddCommand(a.command("list", "List the regions that this device can open", 0, 0, func(ctx context.Context, _ []string) error { return a.regionList(ctx) }), a.regionCollect(), a.regionHorizon(), a.regionPolicy())
	return []*cobra.Command{a.add(), a.sync(), a.statusAll(), a.tree("tree"), a.tree("ls"), a.history(), a.restoreOrThaw(), a.pin(), a.cat(), a.get(), region,
		a.remove(), a.approve(), a.wait(),
		a.pause(),
		a.command("resume [DIR]", "Go on after pause", 0, 1, func(ctx context.Context, args []string) error {
			return a.onVolume(ctx, "pause", args, map[string]any{"pause": false}, "")
		}),
		a.command("conflicts [DIR]", "List the conflict copies", 0, 1, func(ctx context.Context, args []string) error { return a.conflicts(ctx, args) }),
		a.notices(),
		a.trash(),
		a.ignore(),
		a.choose(),
		a.limit(),
	}
}

// dryable makes a command for a folder with the flag --dry-run, whose result
// is a T.
func dryable[T any](a *app, use, short, dry, method string, min int, human func(w io.Writer, r T) error) *cobra.Command {
	var dryRun bool
	cmd := a.command(use, short, min, 1, func(ctx context.Context, args []string) error {
		dir, err := dirParam(args)
		if err != nil {
			return err
		}
		raw, err := a.call(ctx, method, map[string]any{"dir": dir, "dry_run": dryRun})
		if err != nil {
			return err
		}
		return result(a, raw, human)
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, dry)
	return cmd
}

// pause stops transfers, for some time or until resume.
func (a *app) pause() *cobra.Command {
	var span string
	cmd := a.command("pause [DIR] [flags]", "Stop transfers until resume", 0, 1, func(ctx context.Context, args []string) error {
		p := map[string]any{"pause": true}
		if span != "" {
			d, err := parseSpan(span)
			if err != nil || d < time.Second || d > 10*365*24*time.Hour {
				return control.Usagef("--for %q: a time such as 30m, 2h or 1d", span)
			}
			p["for_ms"] = d.Milliseconds()
		}
		return a.onVolume(ctx, "pause", args, p, "")
	})
	cmd.Flags().StringVar(&span, "for", "", "go on by itself after this time, such as 30m, 2h or 1d")
	return cmd
}

func (a *app) approve() *cobra.Command {
	return dryable(a, "approve-deletes [DIR] [flags]", "Let deletions go that are held because they were so many", "say how many; let none go", "approve", 0,
		func(w io.Writer, r owner.Approved) error {
			switch {
			case r.Approved == 0:
				fmt.Fprintln(w, "no deletions are held")
			case r.DryRun:
				fmt.Fprintf(w, "would approve %d deletions\n", r.Approved)
			case r.Daemon:
				fmt.Fprintf(w, "approved %d deletions: the daemon carries them out\n", r.Approved)
			default:
				fmt.Fprintf(w, "approved and carried out %d deletions\n", r.Approved)
			}
			return nil
		})
}

func (a *app) remove() *cobra.Command {
	return dryable(a, "remove DIR [flags]", "Stop keeping a folder in step; its files stay", "only say what it would do", "remove", 1,
		func(_ io.Writer, r owner.Removed) error {
			text := "no longer in step"
			if r.DryRun {
				text = exact(r.Path, r.PathB64) + " would be no longer in step with region " + escape(r.Region)
			}
			text += "; the files stay where they are"
			if r.Trash {
				text += ", and what was deleted there in " + filepath.Join(r.Path, ".signet", "trash")
			}
			a.screen.Note(text)
			return nil
		})
}

// dirParam is the folder that an argument names, absolute; "" for none.
func dirParam(args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	return filepath.Abs(args[0])
}

// pathParam is a PATH as methods take it: absolute, or REGION:PATH, or the
// name of a region where no file of that name is here.
func pathParam(arg string) (string, error) {
	if _, err := os.Lstat(arg); err == nil || filepath.IsAbs(arg) || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") {
		return filepath.Abs(arg)
	}
	// What is not here may have been deleted: a path with a folder is meant as
	// one, a bare name as a region's.
	if name, _, ok := strings.Cut(arg, ":"); ok && !strings.Contains(name, "/") || !strings.Contains(arg, "/") && filepath.Ext(arg) == "" {
		return arg, nil
	}
	return filepath.Abs(arg)
}

// regionParam is a REGION: a name, or a folder that is kept in step with it.
func regionParam(arg string) (string, error) {
	if strings.ContainsRune(arg, filepath.Separator) || arg == "." || arg == ".." {
		return filepath.Abs(arg)
	}
	return arg, nil
}

func (a *app) onVolume(ctx context.Context, method string, args []string, more map[string]any, done string) error {
	dir, err := dirParam(args)
	if err != nil {
		return err
	}
	p := map[string]any{"dir": dir}
	for k, v := range more {
		p[k] = v
	}
	raw, err := a.call(ctx, method, p)
	if err != nil {
		return err
	}
	if a.json {
		_, err := fmt.Fprintf(a.stdout, "%s\n", raw)
		return err
	}
	if done != "" {
		a.screen.Note(done)
	}
	return nil
}

func (a *app) add() *cobra.Command {
	var p owner.AddParams
	cmd := a.command("add DIR [flags]", "Keep a folder in step with a region", 1, 1, func(ctx context.Context, args []string) error {
		var err error
		if p.Dir, err = dirParam(args); err != nil {
			return err
		}
		switch {
		case p.New && p.Join:
			return control.Usagef("--new and --join exclude each other")
		case p.New && len(p.Only) > 0:
			return control.Usagef("--new and --only exclude each other: a new region has no parts yet")
		case p.Siblings != "" && len(p.Only) == 0:
			return control.Usagef("--new-siblings goes with --only")
		}
		raw, err := a.call(ctx, "add", p)
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, r owner.Added) error { return a.showAdded(w, r) })
	})
	f := cmd.Flags()
	f.StringVar(&p.Region, "region", "", "name of the region (default: the folder's name)")
	f.BoolVar(&p.New, "new", false, "make the region; fail if there is one of that name")
	f.BoolVar(&p.Join, "join", false, "join a region that is there; fail if there is none")
	f.BoolVar(&p.Relink, "relink", false, "take the folder for one that was moved or replaced; nothing is deleted")
	f.StringArrayVar(&p.Only, "only", nil, "select only this path of the region; may be given several times")
	f.StringVar(&p.Siblings, "new-siblings", "", "with --only: on selects what comes to the top of the region later (default: off)")
	f.BoolVar(&p.DryRun, "dry-run", false, "count files and bytes and estimate the time; change nothing")
	return cmd
}

func (a *app) showAdded(w io.Writer, r owner.Added) error {
	switch r.Action {
	case "estimated":
		fmt.Fprintf(w, "%s: %d files, %s\n", escape(r.Path), r.Files, size(r.Bytes))
		from := "at the rate measured last"
		switch {
		case r.Limited:
			from = "the limit: signet limit"
		case !r.Measured:
			from = "assuming 100 Mbit/s, nothing was measured yet"
		}
		fmt.Fprintf(w, "all safe after about %s, documents (below 1 MiB) after about %s (%s/s, %s)\n",
			span(seconds(r.Seconds)), span(seconds(r.SmallIn)), size(int64(r.Rate)), from)
		return nil
	case "made":
		fmt.Fprintf(w, "%s is kept in step with the new region %s\n", escape(r.Path), escape(r.Region))
	case "joined":
		fmt.Fprintf(w, "%s is kept in step with region %s, which was there: equal files are adopted, differing ones kept beside each other, nothing is deleted\n", escape(r.Path), escape(r.Region))
	case "relinked":
		fmt.Fprintf(w, "%s takes its place for region %s again: joined by content, nothing is deleted\n", escape(r.Path), escape(r.Region))
	}
	if r.Unselected > 0 {
		fmt.Fprintf(w, "%d names of the region are not selected, with what is below them: signet select\n", r.Unselected)
	}
	if r.Daemon {
		a.hint("signet status shows how far it is")
	} else {
		a.hint("signet up keeps it in step from now on; signet sync does it once")
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// hint says what to do next; messages go to stderr.
func (a *app) hint(text string) { a.screen.Note("hint: " + text) }

func (a *app) sync() *cobra.Command {
	return a.command("sync [DIR]", "Scan and transfer until nothing is left, then exit", 0, 1, func(ctx context.Context, args []string) error {
		dir, err := dirParam(args)
		if err != nil {
			return err
		}
		raw, err := a.call(ctx, "sync", map[string]string{"dir": dir})
		if err != nil {
			return err
		}
		var r owner.SyncResult
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		fault := r.Fault
		r.Fault = nil
		if a.json {
			err = writeJSON(a.stdout, r)
		} else if !a.quiet {
			for _, v := range r.Volumes {
				fmt.Fprintf(a.stdout, "%s: %s\n", escape(v.Path), did(v))
			}
		}
		if fault != nil {
			return fault
		}
		return err
	})
}

// waitAtMost is how long wait waits where nobody says --timeout.
const waitAtMost = 60 * time.Second

func (a *app) wait() *cobra.Command {
	var cmd *cobra.Command
	cmd = a.command("wait", "Wait until every folder is scanned and in step with the service, for 60 s or --timeout", 0, 0, func(ctx context.Context, _ []string) error {
		if !cmd.Flags().Changed("timeout") {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, waitAtMost)
			defer cancel()
		}
		raw, err := a.call(ctx, "wait", struct{}{})
		if err != nil {
			return err
		}
		var r owner.SyncResult
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		if r.Fault != nil { // a nil *Fault would be an error
			return r.Fault
		}
		return nil
	})
	return cmd
}

// did says what a synch did, and whether that was all.
func did(v owner.Synced) string {
	c := v.Counters
	state := "in step"
	if v.State != engine.InStep {
		state = strings.ReplaceAll(string(v.State), "_", " ")
	} else if lost, _, _ := engine.Split(v.Problems); len(lost) > 0 {
		state = "not all in step"
	}
	var parts []string
	say := func(n int64, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	say(c.FilesUp, "%d files up (%s)", c.FilesUp, size(c.BytesUp))
	say(c.FilesDown, "%d files down (%s)", c.FilesDown, size(c.BytesDown))
	say(c.Released, "%d files that are not selected off this disk", c.Released)
	say(c.Moves, "%d moves", c.Moves)
	say(c.Deletes, "%d deletions", c.Deletes)
	say(c.Conflicts, "%d conflict copies", c.Conflicts)
	if len(parts) == 0 {
		if c.Entries > 0 {
			return state + ", folders and attributes sent"
		}
		if state != "in step" {
			return state + ", nothing was done"
		}
		return state + ", nothing to do"
	}
	return state + ": " + strings.Join(parts, ", ")
}

func (a *app) status() *cobra.Command {
	var check, follow bool
	show := func(ctx context.Context) (owner.Status, error) {
		var s owner.Status
		raw, err := a.call(ctx, "status", struct{}{})
		if err != nil {
			return s, err
		}
		return s, result(a, raw, func(w io.Writer, v owner.Status) error { s = v; return a.showStatus(w, v) })
	}
	cmd := a.command("status [flags]", "Show what is in step and what is not", 0, 0, func(ctx context.Context, _ []string) error {
		s, err := show(ctx)
		for err == nil && follow {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
			}
			s, err = show(ctx)
		}
		if err != nil || !check {
			return err
		}
		return checkStatus(s)
	})
	cmd.Flags().BoolVar(&check, "check", false, "exit with the code that the state deserves")
	cmd.Flags().BoolVar(&follow, "follow", false, "show it again every second")
	return cmd
}

// checkStatus is the exit code of status --check.
func checkStatus(s owner.Status) error {
	code := control.Done
	say := ""
	worse := func(c int, text string) {
		if w := control.Worse(code, c); w != code {
			code, say = w, text
		}
	}
	if len(s.Alarms) > 0 {
		worse(control.NotVerified, s.Alarms[0].Message)
	}
	if s.Service.State == "offline" {
		worse(control.Unreachable, s.Service.Reason)
	}
	for _, v := range s.Volumes {
		switch v.State {
		case engine.Offline, engine.Starved, engine.Recover:
			worse(control.Unreachable, v.Reason)
		case engine.ReadOnly, engine.OverQuota:
			worse(control.NotAllowed, v.Reason)
		case engine.AlarmedAt:
			worse(control.NotVerified, v.Reason)
		case engine.Stopped, engine.Held:
			worse(control.Attention, v.Reason)
		case engine.Syncing:
			if v.Hint != "" { // it waits for a person
				worse(control.Attention, v.Reason)
			}
		}
		lost, other, ignored := engine.Split(v.Problems)
		if v.Conflicts > 0 || v.HeldDeletes > 0 || len(lost)+len(other)+len(ignored) > 0 {
			say := fmt.Sprintf("%s: %d conflict copies, %d held deletions, %d names that do not sync", v.Path, v.Conflicts, v.HeldDeletes, len(lost))
			if len(other) > 0 {
				say += fmt.Sprintf(", %d that are others on this disk", len(other))
			}
			if len(ignored) > 0 {
				say += fmt.Sprintf(", %d about what is ignored", len(ignored))
			}
			worse(control.Attention, say)
		}
	}
	if code == control.Done {
		return nil
	}
	return &control.Fault{Kind: "attention", Message: say, Code: code, Hint: "signet status shows the whole"}
}

func (a *app) showStatus(w io.Writer, s owner.Status) error {
	daemon := "the daemon is not running: signet up"
	if s.Daemon {
		daemon = "daemon running, service " + s.Service.State
		if s.Service.Reason != "" {
			daemon += " (" + escape(s.Service.Reason) + ")"
		}
	}
	fmt.Fprintf(w, "%s at %s; %s\n", escape(s.Device), escape(s.Service.URL), daemon)
	if l := lineText(s.Line); l != "" {
		fmt.Fprintf(w, "line: %s\n", l)
	}
	for _, al := range s.Alarms {
		fmt.Fprintf(w, "ALARM %s since %s: %s\n", al.Kind, al.Since.Local().Format("2006-01-02 15:04"), escape(al.Message))
		if al.Evidence != "" {
			fmt.Fprintf(w, "      evidence: %s\n", escape(al.Evidence))
		}
	}
	if s.IndexAnew {
		fmt.Fprintln(w, "no folder is kept in step any more, this device's index was made anew: signet add --relink DIR")
	} else if len(s.Volumes) == 0 {
		fmt.Fprintln(w, "nothing is kept in step yet: signet add DIR")
	}
	for _, v := range s.Volumes {
		fmt.Fprintf(w, "%s  %s  region %s\n", escape(v.Path), strings.ReplaceAll(string(v.State), "_", " "), escape(v.Region))
		if v.Reason != "" {
			fmt.Fprintf(w, "    %s\n", escape(v.Reason))
		}
		if v.PausedUntil != nil {
			fmt.Fprintf(w, "    until %s: signet resume\n", v.PausedUntil.Local().Format("2006-01-02 15:04:05"))
		}
		if v.Hint != "" {
			fmt.Fprintf(w, "    hint: %s\n", escape(v.Hint))
		}
		left := ""
		if v.ETASeconds > 0 {
			left = ", about " + span(seconds(float64(v.ETASeconds))) + " left"
		}
		fmt.Fprintf(w, "    documents safe: %d of %d, %s of %s%s\n", v.SafeFiles, v.Files, size(v.SafeBytes), size(v.Bytes), left)
		if x := v.Seeding; x != nil && x.Done != nil && x.Files > 0 {
			fmt.Fprintf(w, "    in step for the first time: begun %s, done %s, %d files, %s, %s/s\n", x.Begun.Local().Format("2006-01-02 15:04:05"),
				x.Done.Local().Format("2006-01-02 15:04:05"), x.Files, size(x.Bytes), size(int64(x.Rate)))
		}
		if v.Limit > 0 {
			fmt.Fprintf(w, "    service: %s of %s used by the owner of this region\n", size(v.Used), size(v.Limit))
		}
		if v.Ignored > 0 {
			fmt.Fprintf(w, "    %d names ignored, with what is below them: signet ignore\n", v.Ignored)
		}
		if v.Unselected > 0 {
			fmt.Fprintf(w, "    %d names not selected here, with what is below them: signet select\n", v.Unselected)
		}
		if v.HeldDeletes > 0 {
			fmt.Fprintf(w, "    %d deletions held: signet approve-deletes, or signet restore\n", v.HeldDeletes)
		}
		if v.Conflicts > 0 {
			fmt.Fprintf(w, "    %d conflict copies: signet conflicts\n", v.Conflicts)
		}
		for i, p := range v.Problems {
			if i == 10 && !a.verbose {
				fmt.Fprintf(w, "    … and %d more (--verbose)\n", len(v.Problems)-i)
				break
			}
			fmt.Fprintf(w, "    %s: %s\n", exact(p.Path, p.PathB64), escape(p.Message))
			if p.Hint != "" {
				fmt.Fprintf(w, "        hint: %s\n", escape(p.Hint))
			}
		}
	}
	return nil
}

func (a *app) regionList(ctx context.Context) error {
	raw, err := a.call(ctx, "regions", struct{}{})
	if err != nil {
		return err
	}
	return result(a, raw, func(w io.Writer, list []owner.Region) error {
		var rows [][]string
		for _, r := range list {
			rows = append(rows, []string{r.Name, fmt.Sprint(r.Nodes), fmt.Sprint(r.Generation), r.Path})
		}
		return table(w, []string{"NAME", "NODES", "GENERATION", "FOLDER"}, rows)
	})
}

func (a *app) regionCollect() *cobra.Command {
	var dryRun bool
	cmd := a.command("collect REGION [flags]", "End what no kept version uses: condemned now, gone from the service 30 days later", 1, 1, func(ctx context.Context, args []string) error {
		p, err := regionParam(args[0])
		if err != nil {
			return err
		}
		raw, err := a.call(ctx, "collect", owner.CollectParams{Path: p, DryRun: dryRun})
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, r owner.Collected) error {
			would := ""
			if dryRun {
				would = "would be "
			}
			fmt.Fprintf(w, "%s: %d objects are kept\n", escape(r.Region), r.Kept)
			for _, l := range []struct {
				n    int
				what string
			}{{r.Condemned, would + "condemned: no kept version uses them"}, {r.Spared, would + "spared: they are used after all"}, {r.Collected, would + "collected: the service drops them"}} {
				if l.n > 0 {
					fmt.Fprintf(w, "%d %s\n", l.n, l.what)
				}
			}
			if r.Due != nil {
				fmt.Fprintf(w, "%d wait for the end of their grace, the first until %s\n", r.Waiting, moment(*r.Due))
			}
			return nil
		})
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would end; end nothing")
	cmd.Long = "A daemon of a manager's does this once a day. Versions are kept as signet history says; what no kept version uses is condemned, " +
		"and what is unused still is collected when the grace of 30 days is over. Devices that were away meanwhile lose nothing: what they add is sealed anew."
	return cmd
}

func (a *app) notices() *cobra.Command {
	var seen bool
	cmd := a.command("notices [flags]", "Show security alarms, with their evidence", 0, 0, func(ctx context.Context, _ []string) error {
		raw, err := a.call(ctx, "notices", map[string]bool{"seen": seen})
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, list []owner.Alarm) error {
			if len(list) == 0 {
				fmt.Fprintln(w, "no alarms")
			}
			for _, al := range list {
				fmt.Fprintf(w, "%s  %s: %s\n", al.Since.Local().Format("2006-01-02 15:04:05"), al.Kind, escape(al.Message))
				switch al.State {
				case engine.AlarmRecovering:
					fmt.Fprintln(w, "    the service was restored from a backup, and gets back from the devices what it lost")
				case engine.AlarmEnded:
					fmt.Fprintf(w, "    ended %s: the service has again all that it had signed\n", al.Ended.Local().Format("2006-01-02 15:04:05"))
				}
				if al.Evidence != "" {
					fmt.Fprintf(w, "    evidence: %s\n", escape(al.Evidence))
				}
				if al.Hint != "" {
					fmt.Fprintf(w, "    hint: %s\n", escape(al.Hint))
				}
			}
			return nil
		})
	})
	cmd.Flags().BoolVar(&seen, "seen", false, "put them away after showing; if the cause is still there, they come again")
	return cmd
}
