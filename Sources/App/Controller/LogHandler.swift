import Foundation
import Glibc
package import Logging
import Reporting
import Values

/// Writes the log to standard error, one line a message, as text or as JSON.
///
/// `2026-11-30T12:00:00.123Z info    target=pi-1 revision=4f1c2d3 is as declared again`
///
/// - Guarantees: a line is one `write`, so that lines of several threads never mix; whatever a host, a server or a forge said, it stays one line and moves
///   no terminal. A line is cut at 16 KiB.
package struct LineLogHandler: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    package var logLevel: Logger.Level
    private let format: Configuration.Log.Format
    private let now: @Sendable () -> Duration
    private let write: @Sendable (String) -> Void

    private static let longest = 16 << 10

    /// - Parameters:
    ///   - now: The time of day, since 1970.
    ///   - write: Is given a whole line with its end.
    package init(
        _ log: Configuration.Log,
        now: @escaping @Sendable () -> Duration = Self.timeOfDay,
        write: @escaping @Sendable (String) -> Void = Self.writeToStandardError
    ) {
        format = log.format
        logLevel =
            switch log.level {
            case .debug: .debug
            case .info: .info
            case .warning: .warning
            case .error: .error
            }
        self.now = now
        self.write = write
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var fields = metadata
        fields.merge(metadataProvider?.get() ?? [:]) { $1 }
        fields.merge(event.metadata ?? [:]) { $1 }
        if let error = event.error { fields["error"] = "\(error)" }
        let time = Self.text(now())
        let message = Self.shortened(event.message.description)
        switch format {
        case .text:
            var line = "\(time) \(event.level.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0))"
            for (key, value) in fields.sorted(by: { $0.key < $1.key }) { line += "\(Escaping.shown(key))=\(Self.word("\(value)")) " }
            write(Self.cut(line + message) + "\n")
        case .json:
            // Nothing that somebody else chose stands beside our own names.
            let own: [String: Value] = ["time": .string(time), "level": .string(event.level.rawValue), "message": .string(message)]
            var values = own
            for (key, value) in fields where own[key] == nil { values[Self.shortened(key)] = Self.value(value, depth: 0) }
            var text = Value.object(values).canonicalJSON
            if text.utf8.count > Self.longest {
                let cut: Value = .string(String(message.prefix(Self.longest / 8)))
                text = Value.object(own.merging(["message": cut, "isCut": true]) { $1 }).canonicalJSON
            }
            write(text + "\n")
        }
    }

    private static func value(_ value: Logger.Metadata.Value, depth: Int) -> Value {
        guard depth < 4 else { return .string(shortened("\(value)")) }
        switch value {
        case .array(let elements): return .array(elements.prefix(100).map { Self.value($0, depth: depth + 1) })
        case .dictionary(let members):
            return .object(Dictionary(members.prefix(100).map { (shortened($0), Self.value($1, depth: depth + 1)) }) { first, _ in first })
        default: return .string(shortened("\(value)"))
        }
    }

    /// Cut before it is escaped, so that megabytes of it cost nothing.
    private static func shortened(_ text: String) -> String {
        guard text.utf8.count > 4000 else { return Escaping.shown(text) }
        return Escaping.shown(String(text.unicodeScalars.prefix(4000))) + "…"
    }

    /// As it stands where that is one word, else in quotes.
    private static func word(_ text: String) -> String {
        let shown = shortened(text)
        let isWord = !shown.isEmpty && !shown.contains { $0 == " " || $0 == "\"" || $0 == "=" }
        return isWord ? shown : "\"\(shown.replacing("\"", with: "\\\""))\""
    }

    private static func cut(_ line: String) -> String { line.utf8.count > longest ? "\(line.prefix(longest / 4))…" : line }

    /// `2026-11-30T12:00:00.123Z`
    private static func text(_ time: Duration) -> String {
        var seconds = Int(time.components.seconds)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let milliseconds = String(1000 + time.components.attoseconds / 1_000_000_000_000_000).dropFirst()
        return "\(1900 + parts.tm_year)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(milliseconds)Z"
    }

    package static let timeOfDay: @Sendable () -> Duration = { .milliseconds(Int64(Date().timeIntervalSince1970 * 1000)) }

    /// What can't be written is lost: a log that nobody takes must not stop the work.
    package static let writeToStandardError: @Sendable (String) -> Void = { line in
        var line = line
        line.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while !rest.isEmpty {
                let count = Glibc.write(2, rest.baseAddress, rest.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
    }
}
