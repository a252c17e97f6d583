package main

import (
	"io"
	"os"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/troy-iaas/troy/edge"
)

const (
	// accessLogMiB is the size in MiB at which the access log begins a new file,
	// and accessLogFiles how many full ones are kept.
	accessLogMiB, accessLogFiles = 100, 10
)

// checkAccessLog checks the settings of the access log.
func (c config) checkAccessLog(wrong wrongly) {
	if c.AccessLog != "" && c.AccessLog != "stdout" && !filepath.IsAbs(c.AccessLog) {
		wrong("TROY_EDGE_ACCESS_LOG", "%q is neither stdout nor an absolute path", c.AccessLog)
	}
	if f := edge.AccessFormat(c.AccessLogFormat); f != edge.AccessJSON && f != edge.AccessCombined {
		wrong("TROY_EDGE_ACCESS_LOG_FORMAT", "%q is neither json nor combined", f)
	}
	if c.AccessLogAddresses != "anonymous" && c.AccessLogAddresses != "full" {
		wrong("TROY_EDGE_ACCESS_LOG_ADDRESSES", "%q is neither anonymous nor full", c.AccessLogAddresses)
	}
}

// accessLog returns the writer of the access log, or nil if there is none.
func (c config) accessLog() io.Writer {
	switch c.AccessLog {
	case "":
		return nil
	case "stdout":
		return os.Stdout
	}
	return &lumberjack.Logger{Filename: c.AccessLog, MaxSize: accessLogMiB, MaxBackups: accessLogFiles}
}
