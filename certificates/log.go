package certificates

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger returns a logger for certmagic. Its lines are for debugging only,
// because the manager logs each outcome as a sentence.
func zapLogger(log *slog.Logger) *zap.Logger { return zap.New(bridge{log: log}) }

// bridge writes zap's entries to a slog.Logger.
type bridge struct {
	log    *slog.Logger
	fields []zapcore.Field
}

// Enabled implements zapcore.LevelEnabler.
func (b bridge) Enabled(zapcore.Level) bool {
	return b.log.Enabled(context.Background(), slog.LevelDebug)
}

// With implements zapcore.Core.
func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	return bridge{b.log, append(b.fields[:len(b.fields):len(b.fields)], fields...)}
}

// Check implements zapcore.Core.
func (b bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

// Write implements zapcore.Core.
func (b bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range append(b.fields[:len(b.fields):len(b.fields)], fields...) {
		f.AddTo(values)
	}
	attrs := make([]any, 0, 2*len(values.Fields)+2)
	attrs = append(attrs, "certmagic", e.LoggerName)
	for k, v := range values.Fields {
		attrs = append(attrs, k, v)
	}
	b.log.Debug(e.Message, attrs...) //nolint:sloglint // it is certmagic's own
	return nil
}

// Sync implements zapcore.Core.
func (b bridge) Sync() error { return nil }
