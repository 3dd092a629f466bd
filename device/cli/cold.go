package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/device/enrol"
	"signet/device/owner"
)

// cold are the commands about copies on disks that are put away.
func (a *app) cold() []*cobra.Command { return []*cobra.Command{a.export(), a.verify()} }

// faulty shows what a method did, under --json without the fault that it brought
// along, and returns that.
func faulty[T any](a *app, raw []byte, fault func(*T) **control.Fault, human func(w io.Writer, v T) error) error {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	f := *fault(&v)
	*fault(&v) = nil
	plain, err := json.Marshal(v)
	if err == nil {
		err = result(a, plain, human)
	}
	if err == nil && f != nil {
		return f
	}
	return err
}

func (a *app) export() *cobra.Command {
	var p owner.ExportParams
	var place, every string
	var cmd *cobra.Command
	cmd = a.command("export REGION --to DIR [flags]", "Copy a region to a disk that is put away; it opens without the service", 1, 1, func(ctx context.Context, args []string) error {
		var err error
		if p.To == "" {
			return control.Hinted(control.Usagef("--to is missing: the folder of the export"), "signet export "+args[0]+" --to /media/disk/"+filepath.Base(args[0]))
		}
		if p.To, err = filepath.Abs(p.To); err != nil {
			return err
		}
		if p.Region, err = pathParam(args[0]); err != nil {
			return err
		}
		if filepath.IsAbs(p.Region) && !strings.Contains(args[0], "/") {
			p.Region = args[0] // a bare name is a region's, or a folder's of that name
		}
		if cmd.Flags().Changed("place") {
			p.Place = &place
		}
		if cmd.Flags().Changed("every") {
			d, err := parseSpan(every)
			if err != nil {
				return err
			}
			if d != 0 && d < time.Minute {
				return control.Usagef("--every %s: a minute at least, or 0 for no rhythm", every)
			}
			p.Every = &d
		}
		raw, err := a.call(ctx, "export", p)
		if err != nil {
			return err
		}
		return faulty(a, raw, func(r *owner.Exported) **control.Fault { return &r.Fault }, a.showExported)
	})
	f := cmd.Flags()
	f.StringVar(&p.To, "to", "", "folder of the export: new, empty, or of an earlier export of this region")
	f.StringVar(&place, "place", "", "where the disk is kept, such as bank; said once, kept until said again")
	f.StringVar(&every, "every", "", "how old it may become, such as 7d, before status --copies warns; kept until said again")
	f.BoolVar(&p.Verify, "verify", false, "also read every object that is there, and copy damaged ones again")
	f.BoolVar(&p.DryRun, "dry-run", false, "say how much there is to copy; copy nothing")
	return cmd
}

func (a *app) showExported(w io.Writer, r owner.Exported) error {
	if r.DryRun {
		fmt.Fprintf(w, "%s: would copy %d objects, at most %s, and %d records to %s\n", escape(r.Region), r.NewObjects, size(r.NewBytes), r.NewRecords, escape(r.To))
		return nil
	}
	at := ""
	if r.Place != "" {
		at = ", place " + escape(r.Place)
	}
	fmt.Fprintf(w, "%s exported to %s%s: %d objects, %s; %d objects, %s of them copied now\n", escape(r.Region), escape(r.To), at, r.Objects, size(int64(r.Bytes)), r.NewObjects, size(r.NewBytes))
	for i, m := range r.Mended {
		if i == 10 && !a.verbose {
			fmt.Fprintf(w, "  … and %d more (--verbose)\n", len(r.Mended)-i)
			break
		}
		fmt.Fprintf(w, "  was damaged or missing, and is whole again: %s\n", escape(m))
	}
	return nil
}

func (a *app) verify() *cobra.Command {
	var p owner.ThawParams
	var kitFile string
	cmd := a.command("verify [EXPORT] [flags]", "Re-check all that this device knows, or an export: logs, signatures, objects", 0, 1, func(ctx context.Context, args []string) error {
		var err error
		if len(args) == 0 && kitFile != "" {
			return control.Usagef("--recovery-file goes with an EXPORT")
		}
		if len(args) == 0 {
			return a.verifyAll(ctx, p.Deep)
		}
		if p.From, err = filepath.Abs(args[0]); err != nil {
			return err
		}
		raw, err := a.thaw(ctx, "verify.export", kitFile, p, owner.VerifyByKit)
		if err != nil {
			return err
		}
		return faulty(a, raw, func(r *owner.Thawed) **control.Fault { return &r.Fault }, func(w io.Writer, r owner.Thawed) error {
			what := "are there"
			if r.Deep {
				what = "were read"
			}
			a.showExport(w, r)
			fmt.Fprintf(w, "  %d objects, %s, %s\n", r.Objects, size(r.Bytes), what)
			a.showDamage(w, r)
			if !r.Deep && len(r.Damage) == 0 {
				a.hint("--deep reads every object as well")
			}
			return nil
		})
	})
	cmd.Flags().BoolVar(&p.Deep, "deep", false, "also read and hash every object, of the export or from the service, and this device's files")
	cmd.Flags().StringVar(&kitFile, "recovery-file", "", "open it by the recovery kit in this file (- for stdin), without a home")
	return cmd
}

func (a *app) verifyAll(ctx context.Context, deep bool) error {
	raw, err := a.call(ctx, "verify", owner.VerifyParams{Deep: deep})
	if err != nil {
		return err
	}
	return faulty(a, raw, func(r *owner.Verified) **control.Fault { return &r.Fault }, func(w io.Writer, r owner.Verified) error {
		fmt.Fprintf(w, "verified: %d statements, %d entries of %d regions\n", r.Statements, r.Entries, r.Regions)
		if r.Deep {
			fmt.Fprintf(w, "  %d objects of the service, %s, are what they are called\n", r.Objects, size(r.Bytes))
			fmt.Fprintf(w, "  %d files on this device, %s, are as they were hashed\n", r.Files, size(r.FileBytes))
		}
		for i, d := range r.Rot {
			if i == 10 && !a.verbose {
				fmt.Fprintf(w, "  … and %d more (--verbose)\n", len(r.Rot)-i)
				break
			}
			what := d.Message
			if what == "" {
				what = "other bytes, though its time is what it was"
			}
			fmt.Fprintf(w, "  %s: %s\n", escape(path.Join(d.Region, d.Path)), escape(what))
		}
		for i, d := range r.Damage {
			if i == 10 && !a.verbose {
				fmt.Fprintf(w, "  … and %d more (--verbose)\n", len(r.Damage)-i)
				break
			}
			what := "other bytes"
			switch {
			case d.Given:
				what = "was missing, and was sent again"
			case d.Kind == "missing_content":
				what = "missing"
			}
			if len(d.Paths) > 0 {
				what += "; needed by " + strings.Join(d.Paths, ", ")
			}
			fmt.Fprintf(w, "  %s, %s: %s\n", escape(d.Region), d.Object, escape(what))
		}
		if !r.Deep {
			a.hint("--deep gets every object from the service as well, and reads every file")
		}
		return nil
	})
}

// thaw runs a method on an export: as this home's device, or by a kit, for which
// no home is needed.
func (a *app) thaw(ctx context.Context, method, kitFile string, p owner.ThawParams,
	byKit func(context.Context, enrol.RecoveryKit, owner.ThawParams, control.UI) (any, error)) (json.RawMessage, error) {
	if kitFile == "" {
		raw, err := a.call(ctx, method, p)
		if f := control.FaultOf(err); f != nil && f.Kind == "not_enrolled" {
			err = control.Hinted(err, "--recovery-file FILE opens it by a recovery kit")
		}
		return raw, err
	}
	text, err := a.readFile(kitFile)
	if err != nil {
		return nil, err
	}
	kit, err := parseKit(text)
	if err != nil {
		return nil, err
	}
	v, err := byKit(ctx, kit, p, a.screen)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

func (a *app) showExport(w io.Writer, r owner.Thawed) {
	at := ""
	if r.Place != "" {
		at = ", place " + escape(r.Place)
	}
	fmt.Fprintf(w, "export of %s, %s%s: %d files\n", escape(r.Region), r.Made.Local().Format("2006-01-02 15:04"), at, r.Files)
	if r.Behind > 0 {
		fmt.Fprintf(w, "  this device knows %d entries that came later\n", r.Behind)
	}
}

func (a *app) showDamage(w io.Writer, r owner.Thawed) {
	for i, d := range r.Damage {
		if i == 10 && !a.verbose {
			fmt.Fprintf(w, "  … and %d more (--verbose)\n", len(r.Damage)-i)
			break
		}
		what := "not what was exported"
		if d.Kind == "export_missing" {
			what = "missing"
		}
		switch {
		case d.Spared:
			what += "; its copy is good"
		case len(d.Paths) > 0:
			what += "; needed by " + escape(strings.Join(d.Paths, ", "))
		default:
			what += "; no file needs it as it was then, older versions may"
		}
		fmt.Fprintf(w, "  %s: %s\n", escape(d.File), what)
	}
}

// restoreOrThaw is restore, and restore --from.
func (a *app) restoreOrThaw() *cobra.Command {
	var p owner.ThawParams
	var kitFile string
	cmd := a.restore()
	cmd.Use = "restore PATH | --from EXPORT [PATH] [flags]"
	args, run := cmd.Args, cmd.RunE
	cmd.Args = func(c *cobra.Command, list []string) error {
		if p.From == "" {
			return args(c, list)
		}
		if len(list) > 1 {
			return control.Usagef("--from takes one PATH, in the region that the export is of; without it, all is restored")
		}
		return nil
	}
	thaw := a.command("", "", 0, 1, func(ctx context.Context, list []string) error {
		if len(list) == 1 {
			if p.Path = strings.Trim(path.Clean("/"+list[0]), "/"); p.Path == "" {
				return control.Usagef("%q is no path in a region", list[0])
			}
		}
		return a.restoreFrom(ctx, cmd, p, kitFile)
	})
	cmd.RunE = func(c *cobra.Command, list []string) error {
		if p.From != "" {
			return thaw.RunE(c, list)
		}
		if kitFile != "" {
			return control.Usagef("--recovery-file goes with --from")
		}
		return run(c, list)
	}
	f := cmd.Flags()
	f.StringVar(&p.From, "from", "", "restore this export, all or PATH in its region, into --to; no service is needed")
	f.StringVar(&kitFile, "recovery-file", "", "with --from: open it by the recovery kit in this file (- for stdin), without a home")
	return cmd
}

func (a *app) restoreFrom(ctx context.Context, cmd *cobra.Command, p owner.ThawParams, kitFile string) (err error) {
	f := cmd.Flags()
	to, _ := f.GetString("to")
	at, _ := f.GetString("at")
	p.DryRun, _ = f.GetBool("dry-run")
	if f.Changed("revision") {
		return control.Usagef("--from and --revision exclude each other")
	}
	if to == "" {
		return control.Hinted(control.Usagef("--from needs --to: the folder to restore into"), "signet restore --from "+p.From+" --to DIR")
	}
	if p.From, err = filepath.Abs(p.From); err != nil {
		return err
	}
	if p.To, err = filepath.Abs(to); err != nil {
		return err
	}
	if rel, err := filepath.Rel(p.From, p.To); err == nil && filepath.IsLocal(rel) {
		return control.Usagef("--to %s lies in the export", to)
	}
	if at != "" {
		if p.At, err = parseTime(at, a.now()); err != nil {
			return err
		}
	}
	raw, err := a.thaw(ctx, "restore.export", kitFile, p, owner.RestoreByKit)
	if err != nil {
		return err
	}
	return faulty(a, raw, func(r *owner.Thawed) **control.Fault { return &r.Fault }, func(w io.Writer, r owner.Thawed) error {
		a.showExport(w, r)
		verb := "restored to"
		if r.DryRun {
			verb = "would be restored to"
		}
		fmt.Fprintf(w, "  %d files, %s, %s %s\n", r.Files, size(r.Bytes), verb, escape(r.To))
		if r.There > 0 {
			fmt.Fprintf(w, "  %d of them were there already\n", r.There)
		}
		a.showDamage(w, r)
		for i, pr := range r.Problems {
			if i == 10 && !a.verbose {
				fmt.Fprintf(w, "  … and %d more (--verbose)\n", len(r.Problems)-i)
				break
			}
			fmt.Fprintf(w, "  not restored: %s: %s\n", exact(pr.Path, pr.PathB64), escape(pr.Message))
		}
		return nil
	})
}
