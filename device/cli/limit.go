package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/device/line"
	"signet/device/owner"
)

// limit shows and changes how fast this device may send and fetch.
func (a *app) limit() *cobra.Command {
	var up, down, battery, metered, room string
	var schedule []string
	var cmd *cobra.Command
	cmd = a.command("limit [flags]", "Show or set how fast this device may send and fetch, and how full it makes a disk", 0, 0, func(ctx context.Context, _ []string) error {
		var p owner.LimitParams
		for _, f := range []struct {
			flag, text string
			to         **int64
		}{{"up", up, &p.Up}, {"down", down, &p.Down}} {
			if !cmd.Flags().Changed(f.flag) {
				continue
			}
			rate, err := line.ParseRate(f.text)
			if err != nil {
				return control.Usagef("--%s: %v", f.flag, err)
			}
			*f.to = &rate
		}
		if cmd.Flags().Changed("schedule") {
			windows, err := parseSchedule(schedule)
			if err != nil {
				return control.Hinted(control.Usagef("--schedule: %v", err), `signet limit --schedule "mon-fri 08:00-18:00 up 1M"; --schedule off ends it`)
			}
			p.Schedule = &windows
		}
		for _, f := range []struct {
			flag, text string
			to         **bool
		}{{"on-battery", battery, &p.OnBattery}, {"on-metered", metered, &p.OnMetered}} {
			if !cmd.Flags().Changed(f.flag) {
				continue
			}
			pause := f.text == "pause"
			if !pause && f.text != "run" {
				return control.Usagef("--%s is pause or run, not %q", f.flag, f.text)
			}
			*f.to = &pause
		}
		if cmd.Flags().Changed("keep-free") {
			bytes, err := line.ParseRoom(room)
			if err != nil {
				return control.Usagef("--keep-free: %v", err)
			}
			p.KeepFree = &owner.Room{Bytes: bytes}
		}
		raw, err := a.call(ctx, "limit", p)
		if err != nil {
			return err
		}
		return result(a, raw, showLimits)
	})
	f := cmd.Flags()
	f.StringVar(&up, "up", "", "most that is sent in a second, such as 500K, 2M or 10Mbit; off: no limit")
	f.StringVar(&down, "down", "", "most that is fetched in a second")
	f.StringArrayVar(&schedule, "schedule", nil, `other limits at some times, such as "mon-fri 08:00-18:00 up 1M" or "22:00-06:00 pause", several of them separated by ";"; off: none`)
	f.StringVar(&room, "keep-free", "", "how much of a disk downloads leave free, such as 5G; default: 1G, or 1 % of a smaller disk")
	f.StringVar(&battery, "on-battery", "", "pause or run while the machine runs on its battery (default run)")
	f.StringVar(&metered, "on-metered", "", "pause or run while the network costs by the byte (default run)")
	return cmd
}

// parseSchedule reads windows; the word off is none.
func parseSchedule(specs []string) (windows []line.Window, err error) {
	if len(specs) == 1 && strings.TrimSpace(specs[0]) == "off" {
		return []line.Window{}, nil
	}
	for _, spec := range specs {
		for text := range strings.SplitSeq(spec, ";") {
			w, err := line.ParseWindow(text)
			if err != nil {
				return nil, err
			}
			windows = append(windows, w)
		}
	}
	return windows, nil
}

func showLimits(w io.Writer, l owner.Limited) error {
	fmt.Fprintf(w, "up: %s, down: %s\n", rateText(l.Up), rateText(l.Down))
	for _, x := range l.Schedule {
		fmt.Fprintf(w, "    %s\n", x)
	}
	if l.OnBattery {
		fmt.Fprintln(w, "    paused while the machine runs on its battery")
	}
	if l.OnMetered {
		fmt.Fprintln(w, "    paused while the network costs by the byte")
	}
	if l.KeepFree != nil {
		fmt.Fprintf(w, "    downloads leave %s of a disk free\n", size(*l.KeepFree))
	}
	switch {
	case l.Now.Pause:
		fmt.Fprintln(w, "now: paused")
	case l.Now.Up != l.Up || l.Now.Down != l.Down:
		fmt.Fprintf(w, "now: up %s, down %s\n", rateText(l.Now.Up), rateText(l.Now.Down))
	}
	return nil
}

// rateText is a limit for people.
func rateText(n int64) string {
	if n == 0 {
		return "no limit"
	}
	return size(n) + "/s"
}

// lineText is the line for people: its limits, and how fast it was lately.
// Nothing where there is nothing to say.
func lineText(l owner.LineStatus) string {
	var parts []string
	for _, d := range []struct {
		name string
		owner.WayStatus
	}{{"up", l.Up}, {"down", l.Down}} {
		moved := d.Saved+d.Small+d.Next+d.Largest > 0 && d.Rate > 0
		switch {
		case moved && d.Limit > 0:
			parts = append(parts, fmt.Sprintf("%s %s/s of at most %s/s", d.name, size(int64(d.Rate)), size(d.Limit)))
		case d.Limit > 0:
			parts = append(parts, fmt.Sprintf("%s at most %s/s", d.name, size(d.Limit)))
		case moved:
			parts = append(parts, fmt.Sprintf("%s %s/s", d.name, size(int64(d.Rate))))
		}
	}
	return strings.Join(parts, ", ")
}
