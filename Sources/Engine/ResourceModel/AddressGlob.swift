/// A pattern for addresses, as `--target` takes it. `*` matches any text, slashes too; `?` one character; all else stands for itself.
package struct AddressGlob: Hashable, Sendable {
    package let pattern: String
    private let characters: [Character]

    package init(_ pattern: String) {
        self.pattern = pattern
        characters = Array(pattern)
    }

    /// Whether the whole address matches. A bare target name stands for all that is there.
    package func matches(_ address: ResourceAddress) -> Bool {
        pattern == address.target || matches(Array(address.description))
    }

    /// Whether it means the address or something that the address is a part of: `pi-1/NetworkInterface/wlan0` has `…/wlan0/persist` in it.
    package func includes(_ address: ResourceAddress) -> Bool {
        matches(address) || address.description.hasPrefix("\(pattern)/")
    }

    /// Whether any address of this target could match, so that targets nobody asked for are not contacted.
    package func couldMatch(target: String) -> Bool {
        if pattern == target { return true }
        let literal = characters.prefix { $0 != "*" && $0 != "?" }
        let start = Array(target + "/")
        return literal.count <= start.count ? start.starts(with: literal) : literal.starts(with: start)
    }

    // Greedy with one point of return: linear in practice, never exponential.
    private func matches(_ text: [Character]) -> Bool {
        var t = 0
        var p = 0
        var resume: (p: Int, t: Int)?
        while t < text.count {
            if p < characters.count, characters[p] == "*" {
                resume = (p, t)
                p += 1
            } else if p < characters.count, characters[p] == "?" || characters[p] == text[t] {
                p += 1
                t += 1
            } else if let last = resume {
                p = last.p + 1
                t = last.t + 1
                resume = (last.p, t)
            } else {
                return false
            }
        }
        return characters[p...].allSatisfy { $0 == "*" }
    }
}
