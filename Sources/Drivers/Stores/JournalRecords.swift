package import Foundation
package import Values

/// What a run is about, known when it begins.
package struct RunStart: Sendable, Hashable {
    /// `apply`, `unlock`, `pause`.
    package var command: String
    /// The folder, file or URL of the specs; empty where there are none.
    package var source: String
    /// The commit of the specs; nil for a folder.
    package var revision: String?
    package var planID: String?
    package var caller: Caller
    package var started: Date

    package init(command: String, source: String, revision: String? = nil, planID: String? = nil, caller: Caller, started: Date) {
        self.command = command
        self.source = source
        self.revision = revision
        self.planID = planID
        self.caller = caller
        self.started = started
    }
}

/// How a run ended.
package enum RunOutcome: String, Sendable, Hashable, CaseIterable {
    /// Everything it was for is so.
    case complete
    /// Something failed, was skipped, or is a problem of the plan.
    case incomplete
    /// It ended without a word: the process or the machine died.
    case interrupted
}

/// A run, as the journal holds it.
package struct Run: Sendable, Hashable {
    package var id: Int64
    package var start: RunStart
    /// nil: it is under way, or ended without a word and nobody noticed yet.
    package var ended: Date?
    package var outcome: RunOutcome?
    package var message: String
    /// How many of its actions ended in which way; those that were never started are under `nil`.
    package var counts: [ActionRecord.Outcome?: Int] = [:]
}

/// What one action is going to do. Sensitive values are written as `(sensitive)`, whatever is handed in.
package struct ActionStart: Sendable, Hashable {
    package struct Field: Sendable, Hashable {
        package var path: String
        /// The pre-image: what was there before; nil: nothing.
        package var observed: Value?
        package var desired: Value?

        package init(path: String, observed: Value?, desired: Value?) {
            self.path = path
            self.observed = observed
            self.desired = desired
        }
    }

    package var address: String
    package var kind: String
    /// `create`, `update`, `delete`.
    package var operation: String
    package var fingerprint: String
    package var fields: [Field]
    /// In words a person can check.
    package var steps: [String]

    package init(address: String, kind: String, operation: String, fingerprint: String, fields: [Field], steps: [String]) {
        self.address = address
        self.kind = kind
        self.operation = operation
        self.fingerprint = fingerprint
        self.fields = fields
        self.steps = steps
    }
}

/// An action, as the journal holds it.
package struct ActionRecord: Sendable, Hashable {
    package enum Outcome: String, Sendable, Hashable, CaseIterable {
        case succeeded
        case failed
        /// Done, not confirmed, and taken back by the host itself.
        case rolledBack
        case skipped
        /// Under way when its run ended without a word: it may have been done, in part or not at all.
        case interrupted
    }

    package var start: ActionStart
    /// nil: it was never started.
    package var started: Date?
    package var ended: Date?
    /// By a clock that nobody sets.
    package var duration: Duration?
    package var outcome: Outcome?
    package var message: String

    package var isUnderWay: Bool { started != nil && outcome == nil }
}
