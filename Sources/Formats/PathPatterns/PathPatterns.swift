/// Patterns for paths in gitignore's syntax: `*`, `?`, `[a-z]`, `**`, a leading `/`, a trailing `/`, `!` to take back, `\` to escape.
///
/// A later line beats an earlier one. A pattern without a slash in its middle matches at any depth.
package struct PathPatterns: Sendable {
    private struct Pattern: Sendable {
        var segments: [String]
        var isNegated: Bool
        var onlyFolders: Bool
    }

    private var patterns: [Pattern] = []

    /// - Parameter lines: as in a file; empty ones and those that begin with `#` are skipped.
    package init(lines: some Sequence<some StringProtocol>) {
        for line in lines {
            var text = String(line)
            if text.hasSuffix("\r") { text.removeLast() }
            while text.hasSuffix(" "), !text.hasSuffix("\\ ") { text.removeLast() }
            if text.isEmpty || text.hasPrefix("#") { continue }
            let isNegated = text.hasPrefix("!")
            if isNegated { text.removeFirst() }
            let onlyFolders = text.hasSuffix("/")
            if onlyFolders { text.removeLast() }
            let isAnchored = text.contains("/")
            if text.hasPrefix("/") { text.removeFirst() }
            if text.isEmpty { continue }
            var segments = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            if !isAnchored { segments.insert("**", at: 0) }
            patterns.append(Pattern(segments: segments, isNegated: isNegated, onlyFolders: onlyFolders))
        }
    }

    /// Whether the last pattern that matches this path says so, or nil where none does.
    ///
    /// - Parameter path: relative to where the patterns stand, without a leading slash.
    package func decision(for path: String, isFolder: Bool) -> Bool? {
        let segments = path.split(separator: "/").map(String.init)
        for pattern in patterns.reversed() where isFolder || !pattern.onlyFolders {
            if Self.matches(pattern.segments[...], segments[...]) { return !pattern.isNegated }
        }
        return nil
    }

    /// Whether the path, or a folder that it is in, is matched.
    package func matches(_ path: String) -> Bool {
        let segments = path.split(separator: "/").map(String.init)
        for count in 1..<max(1, segments.count) {
            if decision(for: segments.prefix(count).joined(separator: "/"), isFolder: true) == true { return true }
        }
        return decision(for: path, isFolder: false) == true
    }

    private static func matches(_ pattern: ArraySlice<String>, _ path: ArraySlice<String>) -> Bool {
        // Which tails of the path each tail of the pattern can match; a table, so that many `**` cost no exponential time.
        let width = path.count + 1
        var next = Array(repeating: false, count: width)
        next[path.count] = true
        for (index, segment) in pattern.enumerated().reversed() {
            var row = Array(repeating: false, count: width)
            let isLast = index == pattern.count - 1
            for start in stride(from: path.count, through: 0, by: -1) {
                let rest = path.dropFirst(start)
                if segment == "**" {
                    // At the end it stands for something inside, elsewhere for any number of folders, none too.
                    row[start] = isLast ? !rest.isEmpty : next[start] || (start < path.count && row[start + 1])
                } else if let name = rest.first, matchesName(Array(segment.unicodeScalars), Array(name.unicodeScalars)) {
                    row[start] = next[start + 1]
                }
            }
            next = row
        }
        return next[0]
    }

    private static func matchesName(_ pattern: [Unicode.Scalar], _ name: [Unicode.Scalar]) -> Bool {
        var p = 0
        var n = 0
        var resume: (p: Int, n: Int)?
        while n < name.count {
            if p < pattern.count, pattern[p] == "*" {
                resume = (p, n)
                p += 1
            } else if let end = matchOne(pattern, p, name[n]) {
                p = end
                n += 1
            } else if let last = resume {
                p = last.p + 1
                n = last.n + 1
                resume = (last.p, n)
            } else {
                return false
            }
        }
        return pattern[p...].allSatisfy { $0 == "*" }
    }

    /// Where the pattern goes on if its next item matches this character.
    private static func matchOne(_ pattern: [Unicode.Scalar], _ start: Int, _ character: Unicode.Scalar) -> Int? {
        guard start < pattern.count else { return nil }
        switch pattern[start] {
        case "?": return start + 1
        case "\\" where start + 1 < pattern.count: return pattern[start + 1] == character ? start + 2 : nil
        case "[":
            var index = start + 1
            let isNegated = index < pattern.count && (pattern[index] == "!" || pattern[index] == "^")
            if isNegated { index += 1 }
            var isIn = false
            var isFirst = true
            while index < pattern.count, isFirst || pattern[index] != "]" {
                isFirst = false
                let low = pattern[index]
                if index + 2 < pattern.count, pattern[index + 1] == "-", pattern[index + 2] != "]" {
                    if low <= character, character <= pattern[index + 2] { isIn = true }
                    index += 3
                } else {
                    if low == character { isIn = true }
                    index += 1
                }
            }
            guard index < pattern.count else { return character == "[" ? start + 1 : nil }
            return isIn != isNegated ? index + 1 : nil
        case let literal: return literal == character ? start + 1 : nil
        }
    }
}
