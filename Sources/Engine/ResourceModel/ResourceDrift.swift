package import Values
package import YAML

/// How one resource stands against what is declared of it.
package struct ResourceDrift: Sendable, Hashable {
    package enum Standing: Hashable, Sendable {
        case inSync
        /// Declared, not there, and ours to make.
        case missing
        /// There and other than declared. An empty `differences` is a kind's mistake.
        case differs
        /// There and declared absent.
        case surplus
        /// Nothing will be done; the reason is said.
        case problem(ProblemStatus, String)
    }

    package var address: ResourceAddress
    package var kind: String
    package var handler: String
    package var standing: Standing
    /// One entry a field that differs; may also be filled beside a problem, to show what it is about.
    package var differences: [FieldDifference]
    /// Why it differs, where something can be said: who changed it and when.
    package var reason: String
    /// Exactly what a change of this resource depends on and nothing that changes by itself (no counters, times, versions).
    package var fingerprint: Value
    /// What `steps` needs to know beyond the differences; the kind's own business.
    package var details: Value
    package var dependsOn: [ResourceAddress]
    /// Smaller goes first within a target where no dependency decides.
    package var phase: Int
    package var origins: [SourcePosition]
    package var notes: [String]
    /// The inventory has it and no spec declares it any more: a deletion is a prune, and comes after everything else.
    package var isUndeclared = false
    /// Left as it is for a time only, by `Pause`: unlike what others hold it is a reason for prunes to wait.
    package var isPaused = false
    /// How long it has to differ in the same way before the continuous mode acts on it (`plumb/settle`).
    package var settle = Duration.zero

    package init(
        address: ResourceAddress,
        kind: String,
        handler: String,
        standing: Standing,
        differences: [FieldDifference] = [],
        reason: String = "",
        fingerprint: Value = .null,
        details: Value = .null,
        dependsOn: [ResourceAddress] = [],
        phase: Int = 0,
        origins: [SourcePosition] = [],
        notes: [String] = []
    ) {
        self.address = address
        self.kind = kind
        self.handler = handler
        self.standing = standing
        self.differences = differences
        self.reason = reason
        self.fingerprint = fingerprint
        self.details = details
        self.dependsOn = dependsOn
        self.phase = phase
        self.origins = origins
        self.notes = notes
    }
}

extension ResourceDrift {
    /// How it stands, for a message that says why nothing is done about it: `differs in mtu (1500 → 1400)`. Empty where nothing is to be done.
    package var differenceWords: String {
        switch standing {
        case .inSync, .problem: return ""
        case .missing: return "is missing"
        case .surplus: return isUndeclared ? "is no longer declared" : "is there and declared absent"
        case .differs:
            func shown(_ value: Value?) -> String {
                guard let value else { return "none" }
                let text = value.description
                return text.count > 40 ? "\(text.prefix(40))…" : text
            }
            let fields = differences.prefix(4).map { "\($0.path) (\(shown($0.observed)) → \(shown($0.desired)))" }
            let more = differences.count > 4 ? " and \(differences.count - 4) more" : ""
            return "differs in \(fields.joined(separator: ", "))\(more)"
        }
    }
}

/// One field: what is, and what should be. nil: not there.
package struct FieldDifference: Hashable, Sendable, Codable {
    /// `flags.promiscuous`, `spec.ports[0].port`, `metadata.annotations["a/b"]`.
    package var path: String
    package var observed: Value?
    package var desired: Value?

    package init(path: String, observed: Value?, desired: Value?) {
        self.path = path
        self.observed = observed
        self.desired = desired
    }

    // Both sides are always written, as null where there is nothing: readers of the JSON need no second case.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(path, forKey: .path)
        try container.encode(observed ?? .null, forKey: .observed)
        try container.encode(desired ?? .null, forKey: .desired)
    }
}
