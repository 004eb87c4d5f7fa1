import Controller
import Forge
import Foundation
import Logging
import Reporting
import ResourceModel

extension DriftIssueKeeper {
    /// nil: nobody has asked for the issue.
    init?(_ access: ForgeAccess, controller: Controller, metrics: Metrics, log: Logger) {
        guard access.reports.driftIssue else { return nil }
        self.init(controller: controller, metrics: metrics, log: log) { drift in
            do throws(ForgeFailure) {
                let client = try access.client()
                let hidesValues =
                    switch access.reports.hideValues {
                    case .always: true
                    case .never: false
                    case .auto: try await client.isPublicRepository()
                    }
                let issue = DriftIssue(
                    revision: drift.revision,
                    site: access.site,
                    hidesValues: hidesValues,
                    observedAt: Moment(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)),
                    actions: drift.actions,
                    problems: drift.unread
                )
                return .success(try await client.post(issue))
            } catch {
                return .failure(error)
            }
        }
    }
}
