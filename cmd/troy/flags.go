package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troy-iaas/troy"
)

// checked is a flag's value that keeps its fault, so that all faults are
// reported at once.
type checked interface{ fault() string }

// number is the value of a flag with a whole number from least to most.
type number struct {
	n, least, most int
	wrong          string
}

func (v *number) Set(text string) error {
	n, err := strconv.Atoi(text)
	v.n, v.wrong = n, ""
	if err != nil || n < v.least || n > v.most {
		v.wrong = fmt.Sprintf("it is %q; expected a whole number from %d to %d", text, v.least, v.most)
	}
	return nil
}

func (v *number) String() string { return strconv.Itoa(v.n) }
func (v *number) Type() string   { return "int" }
func (v *number) fault() string  { return v.wrong }

// duration is the value of a flag with a duration of 0 or more.
type duration struct {
	time.Duration
	wrong string
}

func (v *duration) Set(text string) error {
	d, err := time.ParseDuration(text)
	v.Duration, v.wrong = d, ""
	switch {
	case err != nil:
		v.wrong = fmt.Sprintf("it is %q; expected a time like 90s, 10m or 1h30m", text)
	case d < 0:
		v.wrong = fmt.Sprintf("it is %q; expected 0 or more", text)
	}
	return nil
}

func (v *duration) Type() string  { return "duration" }
func (v *duration) fault() string { return v.wrong }

// required is the value of a required flag.
type required struct{ text, missing string }

func (v *required) Set(text string) error { v.text = text; return nil }
func (v *required) String() string        { return v.text }
func (v *required) Type() string          { return "string" }

func (v *required) fault() string {
	if v.text == "" {
		return v.missing
	}
	return ""
}

// checkFlags returns an error with the faults of all of the command's flags.
func checkFlags(cmd *cobra.Command) error {
	var faults []string
	var only *troy.Error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		v, ok := f.Value.(checked)
		if !ok || v.fault() == "" {
			return
		}
		only = troy.Errorf(troy.Invalid, "%s", v.fault()).At("--" + f.Name)
		faults = append(faults, only.Error())
	})
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return only
	}
	e := troy.Errorf(troy.Invalid, "%d flags are invalid", len(faults))
	e.Details = faults
	return e
}

// flagError rewords an error of pflag.
func flagError(cmd *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		err = fmt.Errorf("--%s: invalid value %q", e.GetFlag().Name, e.GetValue())
		if e.GetFlag().Value.Type() == "bool" {
			err = fmt.Errorf("--%s: it is %q; expected true or false", e.GetFlag().Name, e.GetValue())
		}
	}
	if near := nearestFlag(cmd, err); near != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, near)
	}
	return fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())
}

// addLimit adds --limit to a list command.
func addLimit(cmd *cobra.Command, limit *number) {
	limit.most = 1_000_000
	cmd.Flags().Var(limit, "limit", "list at most `N` of the newest; 0 lists all")
}

// settings returns the environment variables of the program.
func settings() []string { return []string{"TROY_URL", "TROY_TOKEN"} }

// misspelt returns a warning for each variable whose name resembles one of the
// program's variables that is not set.
func misspelt(environ []string, env func(string) string) []string {
	var warnings []string
	for _, assignment := range environ {
		name := assignment
		for i := range assignment {
			if assignment[i] == '=' {
				name = assignment[:i]
				break
			}
		}
		for _, known := range settings() {
			if name != known && env(known) == "" && len(name) > 4 && levenshtein.Distance(name, known, nil) <= 2 {
				warnings = append(warnings, fmt.Sprintf("%s is ignored; did you mean %s?", name, known))
			}
		}
	}
	return warnings
}
