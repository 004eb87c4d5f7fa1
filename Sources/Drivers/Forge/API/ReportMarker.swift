/// What tells our texts from others', and what of them does not count.
///
/// A marker is an HTML comment, which no forge shows, and stands at the very beginning: whoever quotes us puts something before it.
package enum ReportMarker {
    /// Of the one comment of a pull request.
    package static func report(site: String) -> String { "<!-- plumb:report:\(encoded(site)) -->" }

    /// Of the one issue about drift.
    package static func drift(site: String) -> String { "<!-- plumb:drift:\(encoded(site)) -->" }

    /// Around what changes although nothing has changed, at the end of a text: when it was observed. A text that differs in nothing else is not sent again.
    package static func time(_ text: String) -> String { "\(timeStart)\(text)\(timeEnd)" }

    private static let timeStart = "<!-- plumb:at -->"
    private static let timeEnd = "<!-- /plumb:at -->"

    static func begins(_ text: String, with marker: String) -> Bool {
        let start = text.drop { $0.isWhitespace || $0 == "\u{FEFF}" }
        return start.hasPrefix(marker)
    }

    static func isSame(_ one: String, _ other: String) -> Bool { essence(of: one) == essence(of: other) }

    /// Forges change line ends, and drop spaces at the ends of a text.
    private static func essence(of text: String) -> String {
        var result = text.replacing("\r\n", with: "\n").replacing("\r", with: "\n")[...]
        while result.last?.isWhitespace == true { result = result.dropLast() }
        // Only at the very end: what is quoted further up may hold any text, and must not be left out of the comparison.
        if result.hasSuffix(timeEnd), let start = result.ranges(of: timeStart).last { result = result[..<start.lowerBound] }
        var trimmed = result.drop { $0.isWhitespace }
        while trimmed.last?.isWhitespace == true { trimmed = trimmed.dropLast() }
        return String(trimmed)
    }

    /// Only what can't end the comment.
    private static func encoded(_ site: String) -> String { ForgeRequest.encoded(site).replacing("--", with: "-%2D") }
}
