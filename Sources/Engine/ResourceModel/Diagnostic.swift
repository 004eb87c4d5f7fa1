package import YAML

/// A mistake in the specs. All mistakes of a revision are reported together, and nothing of it is applied.
package struct Diagnostic: Error, Hashable, Sendable {
    package var position: SourcePosition
    /// What is wrong, as a clause without a full stop: `unknown field 'hots'`.
    package var message: String
    /// How to mend it, as a sentence; may be empty.
    package var fix: String

    package init(_ message: String, at position: SourcePosition, fix: String = "") {
        self.position = position
        self.message = message
        self.fix = fix
    }
}

extension Diagnostic: CustomStringConvertible {
    package var description: String {
        fix.isEmpty ? "\(position): error: \(message)" : "\(position): error: \(message)\n    \(fix)"
    }
}

extension Diagnostic {
    /// The known word that is nearest to a misspelt one: at most two edits away (one for words of up to four letters), or nil.
    package static func nearest(to word: String, among known: some Sequence<String>) -> String? {
        let limit = word.count <= 4 ? 1 : 2
        return
            known
            // A hint is worth no more: who sends many misspelt words among many known ones gets none for the rest.
            .prefix(2000)
            .map { (word: $0, distance: editDistance(word.lowercased(), $0.lowercased())) }
            .filter { $0.distance <= limit }
            .min { ($0.distance, $0.word) < ($1.distance, $1.word) }?
            .word
    }

    /// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours count one each.
    private static func editDistance(_ a: String, _ b: String) -> Int {
        let a = Array(a)
        let b = Array(b)
        guard abs(a.count - b.count) <= 3, !a.isEmpty, !b.isEmpty else { return max(a.count, b.count) }
        var rows = [Array(0...b.count)]
        for i in 1...a.count {
            var row = [i]
            for j in 1...b.count {
                var best = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { best = min(best, rows[i - 2][j - 2] + 1) }
                row.append(best)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
