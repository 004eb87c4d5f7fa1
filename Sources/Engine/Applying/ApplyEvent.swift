package import ResourceModel

/// What happens during an apply, in the order in which it happens. Everything a person or a script sees is made of these.
package enum ApplyEvent: Sendable, Hashable {
    case planned(ResourceAddress, String)
    case started(ResourceAddress)
    case succeeded(ResourceAddress, String)
    case failed(ResourceAddress, String)
    case skipped(ResourceAddress, String)
    /// It was changed and taken back, and that was seen. Never a success.
    case rolledBack(ResourceAddress, String)
    /// Of a saved plan, and no longer what would be done.
    case stale(ResourceAddress, String)
    /// Of a saved plan, and so already.
    case unneeded(ResourceAddress)
    /// Would be done, and is not part of the saved plan.
    case unplanned(ResourceAddress, String)
    /// Was as declared, before or through this apply, and differs again at its end: somebody else changes it.
    case drifted(ResourceAddress, String)
    case summary(ApplySummary)
}

package struct ApplySummary: Sendable, Hashable, Codable {
    package var planned = 0
    package var succeeded = 0
    package var failed = 0
    package var skipped = 0
    package var stale = 0
    package var rolledBack = 0
    /// Of a saved plan: so already. Not counted as planned.
    package var unneeded = 0
    /// What differs and is not part of the saved plan. Not counted as planned.
    package var unplanned = 0
    /// Was as declared and differs again at the end, by somebody else.
    package var drifted = 0
    /// Problems of the plan: what is desired and was not so much as tried.
    package var problems = 0

    package init() {}

    /// Everything desired is now so.
    package var isComplete: Bool {
        failed == 0 && skipped == 0 && stale == 0 && rolledBack == 0 && unplanned == 0 && drifted == 0 && problems == 0
    }
}

/// How one action ended.
package enum ActionOutcome: Sendable, Hashable {
    case succeeded(String)
    case failed(String)
    case skipped(String)
    case rolledBack(String)
}
