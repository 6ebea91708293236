# needs: npm
# package: npm
export npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false npm_config_offline=true HOME=$PWD
mkdir dep main
echo '{"name": "dep", "version": "1.0.0", "main": "i.js"}' >dep/package.json && echo 'module.exports = 42;' >dep/i.js
echo '{"name": "main", "version": "1.0.0", "scripts": {"say": "node -p require(\"dep\")"}}' >main/package.json
cd main && npm install --no-package-lock ../dep 2>&1 | grep -E 'added|up to date' | sed 's/ in .*//'
npm run -s say
