package import Planning
import ResourceModel

/// What an apply of a saved plan does where something is stale.
package enum StalePolicy: String, Sendable, Hashable, CaseIterable {
    /// Nothing at all is run.
    case stop
    /// What is identical is run.
    case skip
}

/// Reports what of a saved plan is not run. The result goes into `ApplyOptions.counted`.
package func reportUnrun(_ comparison: PlanComparison, report: (ApplyEvent) -> Void) -> ApplySummary {
    var summary = ApplySummary()
    summary.planned = comparison.stale.count
    summary.stale = comparison.stale.count
    summary.unneeded = comparison.unneeded.count
    summary.unplanned = comparison.unplanned.count
    for address in comparison.unneeded { report(.unneeded(address)) }
    for action in comparison.unplanned { report(.unplanned(action.address, "\(action.operation.rawValue); not part of the plan")) }
    for stale in comparison.stale {
        report(.planned(stale.planned.address, stale.planned.operation.rawValue))
        report(.stale(stale.planned.address, stale.reason))
    }
    return summary
}

/// Ends an apply of a saved plan before its first action, because something is stale: each of its actions is stale or skipped.
///
/// - Parameter plan: the new plan.
package func refuseStale(_ comparison: PlanComparison, plan: Plan, report: (ApplyEvent) -> Void) -> ApplySummary {
    var summary = reportUnrun(comparison, report: report)
    summary.planned += comparison.identical.count
    summary.skipped = comparison.identical.count
    summary.problems = plan.problems.count
    for action in comparison.identical {
        report(.planned(action.address, action.operation.rawValue))
        report(.skipped(action.address, "nothing is run, since other actions of the plan are stale"))
    }
    report(.summary(summary))
    return summary
}
