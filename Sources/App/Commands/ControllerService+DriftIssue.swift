import Controller
import Forge
import Foundation
import Git
import Logging
import Reporting
import ResourceModel

extension ControllerService {
    /// Who keeps the issue about what is only reported; nil: nobody is asked to.
    ///
    /// A forge that can't be used is no reason not to hold hosts and clusters to what is declared: it is said, again and again.
    func driftIssueKeeper() -> DriftIssueKeeper? {
        guard let reports = configuration.reports, reports.driftIssue else { return nil }
        let site = configuration.source.site
        let client: Result<ForgeClient, ForgeFailure>
        do throws(ForgeFailure) { client = .success(try reports.client(site: site)) } catch { client = .failure(error) }
        return DriftIssueKeeper(controller: controller, metrics: metrics, log: log) { drift in
            do throws(ForgeFailure) {
                let client = try client.get()
                let hidesValues =
                    switch reports.hideValues {
                    case .always: true
                    case .never: false
                    case .auto: try await client.isPublicRepository()
                    }
                let issue = DriftIssue(
                    revision: drift.revision,
                    site: site,
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

extension Configuration.Source {
    /// Where in the repository the specs are, or where the folder is.
    fileprivate var site: String {
        guard GitLocation.isURL(url) else { return url }
        do throws(GitFailure) { return try GitLocation(source: url, path: path).folder } catch { return path ?? "" }
    }
}

extension Configuration.Reports {
    /// - Parameter site: Tells apart what several Plumbs say of one repository.
    func client(site: String) throws(ForgeFailure) -> ForgeClient {
        let credentials: ForgeCredentials
        if let app {
            credentials = try .app(id: app.id, installation: app.installation, keyFile: app.keyFile)
        } else {
            credentials = try .token(file: tokenFile ?? "")
        }
        var options = ForgeClient.Options(site: site)
        options.authorityFile = authorityFile
        return try ForgeClient(forge, url: url, repository: repository, credentials: credentials, options: options)
    }
}
