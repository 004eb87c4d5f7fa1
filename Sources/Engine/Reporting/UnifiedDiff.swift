package import YAML

/// A change of one file as `diff -u` shows it, for people, `patch -p1` and `git apply`.
///
/// Characters that a terminal acts on are shown as escapes; a line with one of them can be read and not applied.
/// - Parameter path: As the person who named the source would type it. One from the file system's root, or from above, stands without `a/` and `b/`.
/// - Returns: empty where nothing changes.
package func unifiedDiff(_ text: EditedText, path: String) -> String {
    let lines = Lines(text.before)
    let changes = changedLines(text, lines)
    guard !changes.isEmpty else { return "" }
    let context = 3
    var hunks: [[LineChange]] = []
    for change in changes {
        if let last = hunks.last?.last, change.old.lowerBound - last.old.upperBound <= 2 * context {
            hunks[hunks.count - 1].append(change)
        } else {
            hunks.append([change])
        }
    }
    let isRelative = !path.hasPrefix("/") && !path.hasPrefix("../")
    let shown = Escaping.shown(path.hasPrefix("./") ? String(path.dropFirst(2)) : path)
    var result = "--- \(isRelative ? "a/" : "")\(shown)\n+++ \(isRelative ? "b/" : "")\(shown)\n"
    var growth = 0
    for hunk in hunks {
        guard let first = hunk.first, let last = hunk.last else { continue }
        let start = max(0, first.old.lowerBound - context)
        let end = min(lines.count, last.old.upperBound + context)
        var body = ""
        var position = start
        var added = 0
        for change in hunk {
            for index in position..<change.old.lowerBound { body += line(" ", lines[index]) }
            for index in change.old { body += line("-", lines[index]) }
            let new = Lines(change.new)
            for index in 0..<new.count { body += line("+", new[index]) }
            added += new.count - change.old.count
            position = change.old.upperBound
        }
        for index in position..<end { body += line(" ", lines[index]) }
        result += "@@ -\(start + 1),\(end - start) +\(start + 1 + growth),\(end - start + added) @@\n\(body)"
        growth += added
    }
    return result
}

/// Whole lines that others take the place of.
private struct LineChange {
    var old: Range<Int>
    var new: [UInt8]
}

/// Lines with their line feeds; the last one may have none.
private struct Lines {
    private let bytes: [UInt8]
    private let starts: [Int]

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        var starts = bytes.isEmpty ? [] : [0]
        for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: "\n") && index + 1 < bytes.count { starts.append(index + 1) }
        self.starts = starts
    }

    var count: Int { starts.count }

    func range(_ index: Int) -> Range<Int> { starts[index]..<(index + 1 < starts.count ? starts[index + 1] : bytes.count) }

    subscript(index: Int) -> ArraySlice<UInt8> { bytes[range(index)] }

    /// The line that a byte is in; past the end: the last.
    func line(of offset: Int) -> Int {
        var low = 0
        var high = starts.count
        while low + 1 < high {
            let middle = (low + high) / 2
            if starts[middle] <= offset { low = middle } else { high = middle }
        }
        return low
    }
}

private func changedLines(_ text: EditedText, _ lines: Lines) -> [LineChange] {
    guard lines.count > 0 else { return [] }
    var ranges: [Range<Int>] = []
    for replacement in text.replacements where Array(text.before[replacement.range]) != replacement.text {
        let first = lines.line(of: replacement.range.lowerBound)
        let last = lines.line(of: max(replacement.range.lowerBound, replacement.range.upperBound - 1))
        if let before = ranges.last, first < before.upperBound {
            ranges[ranges.count - 1] = before.lowerBound..<max(before.upperBound, last + 1)
        } else {
            ranges.append(first..<(last + 1))
        }
    }
    return ranges.map { range in
        LineChange(old: range, new: text.after(lines.range(range.lowerBound).lowerBound..<lines.range(range.upperBound - 1).upperBound))
    }
}

private func line(_ mark: String, _ bytes: ArraySlice<UInt8>) -> String {
    let endsLine = bytes.last == UInt8(ascii: "\n")
    var text = Substring(decoding: endsLine ? bytes.dropLast() : bytes, as: UTF8.self)
    // A carriage return belongs to the line, and harms nothing at its end.
    let isWindows = text.unicodeScalars.last == "\r"
    if isWindows { text = Substring(text.unicodeScalars.dropLast()) }
    let shown = text.split(separator: "\t", omittingEmptySubsequences: false).map { Escaping.shown(String($0)) }.joined(separator: "\t")
    return "\(mark)\(shown)\(isWindows ? "\r" : "")\n\(endsLine ? "" : "\\ No newline at end of file\n")"
}
