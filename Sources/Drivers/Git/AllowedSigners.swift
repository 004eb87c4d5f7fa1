internal import Foundation
internal import SSH

/// Whose signatures count: a file in OpenSSH's format (ssh-keygen(1), ALLOWED SIGNERS). A line that can't be understood makes all of it invalid.
struct AllowedSigners: Sendable {
    struct Line: Sendable {
        var number: Int
        var principals: String
        var key: PublicKey
        /// nil: any.
        var namespaces: [String]?
        var validAfter: Date?
        var validBefore: Date?
        /// Certificates are not supported, so what it says is that its key alone counts for nothing.
        var isAuthority = false
    }

    let lines: [Line]

    struct Mistake: Error, Hashable, Sendable {
        var line: Int
        var reason: String
    }

    init(_ text: String) throws(Mistake) {
        var lines: [Line] = []
        for (index, raw) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let line = raw.trimmingCharacters(in: .whitespaces)
            if line.isEmpty || line.hasPrefix("#") { continue }
            lines.append(try Self.parse(line, number: index + 1))
        }
        self.lines = lines
    }

    /// Who may sign with a key, in a namespace, at a time.
    ///
    /// - Parameter time: When the commit says that it was made, as git takes it. A key that was stolen has to be taken out of the file: its thief
    ///   can date back what he signs.
    func principals(of key: PublicKey, namespace: String, at time: Date) -> Result<String, SSHSignature.Refusal> {
        var reason = "is signed with \(key.fingerprint), which is not among the allowed signers"
        for line in lines where line.key == key {
            if line.isAuthority {
                reason = "is signed with \(key.fingerprint), which line \(line.number) allows as an authority of certificates only"
            } else if let namespaces = line.namespaces, !Self.matches(namespace, namespaces) {
                reason = "is signed with \(key.fingerprint), which line \(line.number) allows for other namespaces than '\(namespace)'"
            } else if let start = line.validAfter, time < start {
                reason = "is signed with \(key.fingerprint), and dated before line \(line.number) allows that key"
            } else if let end = line.validBefore, time >= end {
                reason = "is signed with \(key.fingerprint), and dated after line \(line.number) allowed that key"
            } else {
                return .success(line.principals)
            }
        }
        return .failure(SSHSignature.Refusal(reason: reason))
    }

    // MARK: Parsing

    private static func parse(_ line: String, number: Int) throws(Mistake) -> Line {
        func mistake(_ reason: String) -> Mistake { Mistake(line: number, reason: reason) }
        guard let words = words(of: line) else { throw mistake("has a quote that is not closed") }
        guard words.count >= 3 else { throw mistake("is not 'PRINCIPALS [OPTIONS] TYPE KEY'") }
        var rest = words.dropFirst()
        var options: [String] = []
        // As OpenSSH does: what is no key is options, one word of them.
        var key = PublicKey(text: rest.prefix(2).joined(separator: " "))
        if key == nil, let word = rest.popFirst() {
            options = try split(word, number)
            key = PublicKey(text: rest.prefix(2).joined(separator: " "))
        }
        guard let key else { throw mistake("has no key that can be read") }
        var result = Line(number: number, principals: words[0].replacing("\"", with: ""), key: key)
        for option in options {
            let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            var value = parts.count > 1 ? String(parts[1]) : nil
            if let text = value {
                guard text.count >= 2, text.hasPrefix("\""), text.hasSuffix("\"") else { throw mistake("has a value without quotes in '\(option)'") }
                value = String(text.dropFirst().dropLast())
            }
            switch (parts[0].lowercased(), value) {
            case ("cert-authority", nil): result.isAuthority = true
            case ("namespaces", let value?):
                guard !value.isEmpty, result.namespaces == nil else { throw mistake("says namespaces twice, or none") }
                result.namespaces = value.split(separator: ",").map(String.init)
            case ("valid-after", let value?):
                guard result.validAfter == nil, let time = Self.time(value) else { throw mistake("has a valid-after that is no time") }
                result.validAfter = time
            case ("valid-before", let value?):
                guard result.validBefore == nil, let time = Self.time(value) else { throw mistake("has a valid-before that is no time") }
                result.validBefore = time
            default: throw mistake("has an option that is not known: '\(option)'")
            }
        }
        if let start = result.validAfter, let end = result.validBefore, end <= start { throw mistake("ends before it begins") }
        return result
    }

    /// Words apart by spaces that are in no quotes; nil where a quote is not closed.
    private static func words(of line: String) -> [String]? {
        var words: [String] = []
        var word = ""
        var isQuoted = false
        for character in line {
            if character == "\"" { isQuoted.toggle() }
            if !isQuoted, character == " " || character == "\t" {
                if !word.isEmpty { words.append(word) }
                word = ""
            } else {
                word.append(character)
            }
        }
        if !word.isEmpty { words.append(word) }
        return isQuoted ? nil : words
    }

    private static func split(_ text: String, _ number: Int) throws(Mistake) -> [String] {
        var options: [String] = []
        var option = ""
        var isQuoted = false
        for character in text {
            if character == "\"" { isQuoted.toggle() }
            if character == ",", !isQuoted {
                options.append(option)
                option = ""
            } else {
                option.append(character)
            }
        }
        options.append(option)
        guard options.allSatisfy({ !$0.isEmpty }) else { throw Mistake(line: number, reason: "has an empty option") }
        return options
    }

    /// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, here, or with a `Z` in UTC.
    private static func time(_ text: String) -> Date? {
        let isUTC = text.hasSuffix("Z")
        let digits = (isUTC ? String(text.dropLast()) : text).utf8.map { Int($0) - 48 }
        guard [8, 12, 14].contains(digits.count), digits.allSatisfy({ (0...9).contains($0) }) else { return nil }
        func number(_ start: Int, _ count: Int) -> Int { start < digits.count ? digits[start..<start + count].reduce(0) { $0 * 10 + $1 } : 0 }
        var calendar = Calendar(identifier: .gregorian)
        if isUTC { calendar.timeZone = .gmt }
        let parts = DateComponents(
            year: number(0, 4),
            month: number(4, 2),
            day: number(6, 2),
            hour: number(8, 2),
            minute: number(10, 2),
            second: number(12, 2)
        )
        // A 32nd day would be rolled over silently.
        guard parts.isValidDate(in: calendar) else { return nil }
        return calendar.date(from: parts)
    }

    /// OpenSSH's pattern lists: one has to match, and none with a `!`.
    static func matches(_ name: String, _ patterns: [String]) -> Bool {
        var isMatched = false
        for pattern in patterns {
            if pattern.hasPrefix("!") {
                if glob(Array(pattern.utf8.dropFirst())[...], Array(name.utf8)[...]) { return false }
            } else if glob(Array(pattern.utf8)[...], Array(name.utf8)[...]) {
                isMatched = true
            }
        }
        return isMatched
    }

    private static func glob(_ pattern: ArraySlice<UInt8>, _ name: ArraySlice<UInt8>) -> Bool {
        // After a star, what is left of the name is tried at each place: a table of two rows, so that no pattern takes for ever.
        var reached = Set([name.startIndex])
        for character in pattern {
            var next: Set<Int> = []
            switch character {
            case UInt8(ascii: "*"): if let first = reached.min() { next = Set(first...name.endIndex) }
            case UInt8(ascii: "?"): next = Set(reached.filter { $0 < name.endIndex }.map { $0 + 1 })
            default: next = Set(reached.filter { $0 < name.endIndex && name[$0] == character }.map { $0 + 1 })
            }
            reached = next
        }
        return reached.contains(name.endIndex)
    }
}
