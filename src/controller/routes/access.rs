//! The access log of an Application's routes.

use futures::StreamExt as _;

use super::Routes;
use super::observed::AccessLines;
use crate::model::AppId;
use crate::proxy::access_line;
use crate::runtime::{LogLine, LogOptions};

impl Routes {
    /// Returns the lines of the access log that are about an Application.
    ///
    /// # Errors
    /// Why there is no access log, and the solution.
    pub async fn access_log(&self, app: &AppId, options: &LogOptions) -> Result<AccessLines, String> {
        let Some(host) = &self.host else {
            return Err(
                "this Davit does not run the reverse proxy, so it has no access log: read that of your proxy"
                    .to_owned(),
            );
        };
        let lines = host.access_log(options).await?;
        let (app, instance) = (app.clone(), self.options.settings.instance.clone());
        let own = lines.filter_map(move |line| {
            let own = match line {
                Ok(line) => {
                    access_line(&line.text, &instance, &app).map(|text| Ok(LogLine { at: line.at, text }))
                }
                Err(error) => Some(Err(error)),
            };
            std::future::ready(own)
        });
        Ok(own.boxed())
    }
}
